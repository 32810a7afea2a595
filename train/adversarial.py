"""Adversarial training: an anonymizer against a privacy classifier that goes on learning.

"Anonymization for Skeleton Action Recognition" (arXiv 2111.15129), algorithm 1: k steps of minimisation (equation 1),
then one of maximisation, in which g minimises CE(z, g(f(x))), without alpha, as the public code does.
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
    maximisation. g is in eval mode (running statistics, no dropout) while f learns, in train mode while it learns.
    """

    def __init__(self, run: AdversarialRun, dataset: SkeletonDataset, parts: Split) -> None:
        super().__init__(run, dataset, parts)
        self._k = run.k
        self.learners["adversary"] = Learner(self._private[0].learner(), run.private_optimizer)

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        self._weights = [weight for weight in self.learners["adversary"].network.parameters() if weight.requires_grad]

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        adversary = self.learners["adversary"]
        adversary.wrapped.eval()
        self._let_learn(False)
        losses = super().step(batch, number)
        adversary.wrapped.train()
        self._let_learn(True)
        if (number + 1) % self._k == 0:
            with torch.no_grad():
                clips = as_clips(self._model.sequence(batch.joints, batch.present))
            loss = cross_entropy(adversary.wrapped(clips), batch.targets[:, 1])
            adversary.step(loss)
            losses["adversary_loss"] = loss.detach()
        return losses

    def measure(self, batch: Batch) -> Sums:
        """Beside the privacy classifier as it was at the start, `private1`, the one that has gone on learning."""
        clips = as_clips(self._model.sequence(batch.joints, batch.present))
        logits: Tensor = self.learners["adversary"].wrapped(clips)
        return {**super().measure(batch), **top_k(logits, batch.targets[:, 1], "adversary")}

    def _adversaries(self) -> list[nn.Module]:
        return [self.learners["adversary"].network]

    def _let_learn(self, learns: bool) -> None:
        for weight in self._weights:
            weight.requires_grad_(learns)
