"""Ensemble training: an anonymizer against fixed recognizers and fixed privacy classifiers.

"Anonymization for Skeleton Action Recognition" (arXiv 2111.15129), algorithm 2:

    min_f  sum_i CE(y, h_i(f(x))) - alpha sum_j H(g_j(f(x))) + beta ||x - f(x)||^2
"""

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from skelanon.configs.training import AdversarialRun, EnsembleRun, Label

from .anonymizers.auto_encoder import AutoEncoder
from .anonymizers.create import create_anonymizer
from .anonymizers.normalise import Normalised
from .anonymizers.whole_clip import as_clips, sequence_model
from .data.clips import Batch
from .data.splits import Split
from .data.store import SkeletonDataset
from .errors import TrainingError
from .losses import distance, entropy, kl_to_prior, prior_of
from .task import Learner, Sums, Task, targets, top_k
from .trained import TrainedClassifier, fitting_classifier, load_auto_encoder


class EnsembleTask(Task):
    """Minimises equation 1; every h and g stays as it is."""

    def __init__(self, run: EnsembleRun | AdversarialRun, dataset: SkeletonDataset, parts: Split) -> None:
        self._objective, self._bodies = run.objective, run.data.bodies
        fingerprint = dataset.info.fingerprint
        self._action = [fitting_classifier(path, run, "action", fingerprint) for path in run.action]
        self._private = [fitting_classifier(path, run, "private", fingerprint) for path in run.private]
        self.classes = {
            "action": _common_classes(self._action, "action"),
            "private": _common_classes(self._private, "private"),
        }
        network = create_anonymizer(run.anonymizer, run.data.bodies)
        if run.anonymizer.weights is not None:
            load_auto_encoder(run.anonymizer.weights, network)
        if isinstance(network, AutoEncoder):
            network.freeze_encoder()
        self.learners = {"anonymizer": Learner(network, run.optimizer)}
        self._normalise = Normalised(nn.Identity(), run.data.bodies)
        private = targets(dataset, parts.train, run.data, {"private": self.classes["private"]})
        self._prior = prior_of(torch.from_numpy(private[:, 0]), len(self.classes["private"]))

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        self._fabric = fabric
        self._prior = self._prior.to(fabric.device)
        self._normalise.to(fabric.device)
        for classifier in (*self._action, *self._private):
            classifier.network.to(fabric.device)
        anonymizer = self.learners["anonymizer"]
        self._model = sequence_model(anonymizer.wrapped, self._bodies, anonymizer.network).to(fabric.device)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Minimisation."""
        terms = self._terms(batch)
        objective = self._objective
        loss = terms["action_loss"] + objective.alpha * terms["private_loss"] + objective.beta * terms["distance_m2"]
        self.learners["anonymizer"].step(objective.scale * loss)
        return {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def measure(self, batch: Batch) -> Sums:
        raw = self._normalise.sequence(batch.joints, batch.present)
        anonymous = self._model.sequence(batch.joints, batch.present)
        moved = distance(raw, anonymous, batch.present, "masked")
        metrics: Sums = {"distance_m2": (moved * len(raw), len(raw))}
        clips = as_clips(anonymous)
        with self._fabric.autocast():
            for column, (label, members) in enumerate((("action", self._action), ("private", self._private))):
                for number, member in enumerate(members, 1):
                    metrics |= top_k(member.network(clips).float(), batch.targets[:, column], f"{label}{number}")
        return metrics

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """The objective's terms, sums over the ensembles; `private_loss` is minus the entropy, or the divergence."""
        with torch.no_grad():
            raw = self._normalise.sequence(batch.joints, batch.present)
        anonymous = self._model.sequence(batch.joints, batch.present)
        clips = as_clips(anonymous)
        with self._fabric.autocast():
            action = [member.network(clips).float() for member in self._action]
            private = [network(clips).float() for network in self._adversaries()]
        return {
            "action_loss": torch.stack([cross_entropy(logits, batch.targets[:, 0]) for logits in action]).sum(),
            "private_loss": torch.stack([self._private_loss(logits) for logits in private]).sum(),
            "distance_m2": distance(raw, anonymous, batch.present, self._objective.reduction),
        }

    def _adversaries(self) -> list[nn.Module]:
        """The privacy classifiers that the anonymizer is trained against."""
        return [member.network for member in self._private]

    def _private_loss(self, logits: Tensor) -> Tensor:
        return -entropy(logits) if self._objective.privacy == "entropy" else kl_to_prior(logits, self._prior)


def _common_classes(members: list[TrainedClassifier], label: Label) -> tuple[int, ...]:
    first, *others = members
    for other in others:
        if other.classes != first.classes:
            raise TrainingError(f"`{label}` names {first.path} and {other.path}, which tell different classes apart")
    return first.classes
