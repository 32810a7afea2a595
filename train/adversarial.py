"""Adversarial training: an anonymizer against privacy classifiers that go on learning.

"Anonymization for Skeleton Action Recognition" (arXiv 2111.15129), algorithm 1: k steps of minimisation (equation 1),
then one of maximisation, in which g minimises CE(z, g(f(x))), without alpha, as the public code does. Several h and g,
each g with a step of its own, are a generalisation: the paper has one of each here.
"""

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from skelanon.configs.training import AdversarialRun

from .anonymizers.whole_clip import as_clips
from .data.clips import Batch
from .data.splits import Split
from .data.store import SkeletonDataset
from .ensemble import EnsembleTask
from .task import Learner, Sums, top_k


class AdversarialTask(EnsembleTask):
    """Alternates minimisation and maximisation.

    Each batch is a step of minimisation; every k-th is afterwards, with the anonymizer it has led to, a step of
    maximisation for each g. They are in eval mode (running statistics, no dropout) while f learns, in train mode while
    they learn themselves.
    """

    def __init__(self, run: AdversarialRun, dataset: SkeletonDataset, parts: Split) -> None:
        super().__init__(run, dataset, parts)
        self._k = run.k
        self._learning = {
            f"adversary{number}": Learner(member.learner(), run.private_optimizer)
            for number, member in enumerate(self._private, 1)
        }
        self.learners |= self._learning

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        networks = self._adversaries()
        self._weights = [weight for network in networks for weight in network.parameters() if weight.requires_grad]

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        self._let_learn(False)
        losses = super().step(batch, number)
        self._let_learn(True)
        if (number + 1) % self._k == 0:
            losses["adversary_loss"] = self._maximise(batch)
        return losses

    def measure(self, batch: Batch) -> Sums:
        """Beside `private1`, ..., as they were at the start, `adversary1`, ..., which have gone on learning."""
        metrics = super().measure(batch)
        clips = as_clips(self._model.sequence(batch.joints, batch.present))
        for name, adversary in self._learning.items():
            metrics |= top_k(adversary.wrapped(clips), batch.targets[:, 1], name)
        return metrics

    def _maximise(self, batch: Batch) -> Tensor:
        """A step of each g; returns the sum of their losses."""
        with torch.no_grad():
            clips = as_clips(self._model.sequence(batch.joints, batch.present))
        losses = []
        for adversary in self._learning.values():
            loss = cross_entropy(adversary.wrapped(clips), batch.targets[:, 1])
            adversary.step(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _adversaries(self) -> list[nn.Module]:
        return [adversary.network for adversary in self._learning.values()]

    def _let_learn(self, learns: bool) -> None:
        for adversary in self._learning.values():
            adversary.wrapped.train(learns)
        for weight in self._weights:
            weight.requires_grad_(learns)
