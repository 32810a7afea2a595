"""Pre-training of the auto-encoder on single frames, before its encoder is frozen."""

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from skelanon.configs.training import AutoEncoderRun, DataSettings

from .anonymizers.create import create_anonymizer
from .anonymizers.normalise import Normalised
from .data.clips import Batch, Frames
from .data.splits import Indices
from .data.store import SkeletonDataset
from .losses import distance
from .task import Learner, Sums, Task


class AutoEncoderTask(Task):
    """Mean squared difference between frames and what the auto-encoder gives back."""

    def __init__(self, run: AutoEncoderRun) -> None:
        self.classes = {}
        network = create_anonymizer(run.anonymizer, run.data.bodies)
        self.learners = {"anonymizer": Learner(network, run.optimizer)}
        self._bodies = run.data.bodies
        self._normalise = Normalised(nn.Identity(), run.data.bodies)

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        self._normalise.to(fabric.device)
        self._model = Normalised(self.learners["anonymizer"].wrapped, self._bodies).to(fabric.device)

    def clips(
        self, dataset: SkeletonDataset, part: Indices, settings: DataSettings, seed: int | None = None
    ) -> Dataset[Batch]:
        return Frames(dataset, part, settings)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        loss = self._loss(batch)
        self.learners["anonymizer"].step(loss)
        return {"loss": loss.detach()}

    def measure(self, batch: Batch) -> Sums:
        clips = len(batch.joints)
        return {"test_mse_m2": (self._loss(batch) * clips, clips)}

    def _loss(self, batch: Batch) -> Tensor:
        """Of the second frame of each pair: the first one only fixes the axes."""
        raw = self._normalise.sequence(batch.joints, batch.present)
        given_back = self._model.sequence(batch.joints, batch.present)
        return distance(raw[:, 1:], given_back[:, 1:], batch.present[:, 1:], "masked")
