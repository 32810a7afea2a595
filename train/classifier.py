"""Pre-training of a recognizer on raw skeletons, normalised as every anonymizer of the paper sees them."""

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from skelanon.configs.training import ClassifierRun

from .anonymizers.normalise import Normalised
from .anonymizers.whole_clip import as_clips
from .augmentation import displaced, resized
from .data.clips import Batch
from .data.splits import Split, classes_of
from .data.store import SkeletonDataset
from .networks import create_network
from .task import Learner, Sums, Task, top_k
from .weights import load_weights


class ClassifierTask(Task):
    """Cross-entropy of one label."""

    def __init__(self, run: ClassifierRun, dataset: SkeletonDataset, parts: Split) -> None:
        self._label = run.label
        self.classes = {run.label: classes_of(dataset, run.data.column(run.label), parts, f"data.{run.label}")}
        network = create_network(run.network.name, len(self.classes[run.label]), run.data.bodies)
        if run.network.weights is not None:
            load_weights(network, run.network.weights)
        self.learners = {"classifier": Learner(network, run.optimizer)}
        self._noise_m, self._bones, self._offset_m = run.noise_m, run.bones, run.offset_m
        self._normalise = Normalised(nn.Identity(), run.data.bodies)

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        self._normalise.to(fabric.device)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        joints = resized(batch.joints, self._bones) if self._bones else batch.joints  # (N, T, P, V, C)
        joints = self._normalise.sequence(joints, batch.present)
        if self._offset_m:
            joints = displaced(joints, batch.present, self._offset_m, through=True)
        if self._noise_m:
            joints = displaced(joints, batch.present, self._noise_m, through=False)
        loss = cross_entropy(self._logits(joints), batch.targets[:, 0])
        self.learners["classifier"].step(loss)
        return {"loss": loss.detach()}

    def measure(self, batch: Batch) -> Sums:
        joints = self._normalise.sequence(batch.joints, batch.present)
        logits, wanted = self._logits(joints), batch.targets[:, 0]
        loss = cross_entropy(logits, wanted, reduction="sum")
        return {"test_loss": (loss, len(wanted)), **top_k(logits, wanted, self._label)}

    def _logits(self, joints: Tensor) -> Tensor:
        logits: Tensor = self.learners["classifier"].wrapped(as_clips(joints))
        return logits
