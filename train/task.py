"""What is trained: the part of a run that knows its networks, its losses and what to measure."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from skelanon.configs.training import DataSettings, Label, OptimizerSettings

from .data.clips import Batch, Clips
from .data.splits import Indices, class_numbers
from .data.store import SkeletonDataset

Sums = dict[str, tuple[Tensor, int]]
"""For each metric the sum of its values and how many there were."""


class Learner:
    """A network that learns, with its optimizer and the course of its learning rate.

    `network` is the network itself, for its state and for steps of others; `wrapped` is what its own steps call.
    """

    def __init__(self, network: nn.Module, settings: OptimizerSettings) -> None:
        self.network, self._settings = network, settings
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.optimizer: torch.optim.Optimizer
        if settings.name == "adam":
            self.optimizer = torch.optim.Adam(weights, settings.learning_rate, weight_decay=settings.weight_decay)
        else:
            self.optimizer = torch.optim.SGD(
                weights,
                settings.learning_rate,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay,
            )
        self.wrapped: nn.Module = network

    def setup(self, fabric: Fabric) -> None:
        """Move to the device and wrap for several processes and mixed precision."""
        self.fabric = fabric
        self.wrapped, self.optimizer = fabric.setup(self.network, self.optimizer)

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 0."""
        settings = self._settings
        rate = settings.learning_rate * settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
        if epoch < settings.warm_up_epochs:
            rate *= (epoch + 1) / settings.warm_up_epochs
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss."""
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()


def step_together(loss: Tensor, *learners: Learner, steepest: float) -> None:
    """One step of several networks down the gradient of one loss; a gradient longer than `steepest` is shortened."""
    for learner in learners:
        learner.optimizer.zero_grad()
    learners[0].fabric.backward(loss)
    for learner in learners:
        nn.utils.clip_grad_norm_(learner.network.parameters(), steepest)
        learner.optimizer.step()


class Task(ABC):
    """One kind of run.

    classes: for each label that batches carry, in this order, its values: class number i stands for entry i.
    learners: by the names under which checkpoints keep them.
    """

    classes: dict[Label, tuple[int, ...]]
    learners: dict[str, Learner]

    def setup(self, fabric: Fabric) -> None:
        """Move everything to the device."""
        for learner in self.learners.values():
            learner.setup(fabric)

    def train(self) -> None:
        """Put networks in the mode in which they are trained; those that stay fixed remain in eval mode."""
        for learner in self.learners.values():
            learner.wrapped.train()

    @abstractmethod
    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One training step, the `number`-th of the run from 0; returns its losses, `loss` being what is minimised."""

    @abstractmethod
    def measure(self, batch: Batch) -> Sums:
        """Metrics of a batch of test sequences; called without gradients, networks in eval mode."""

    def clips(
        self, dataset: SkeletonDataset, part: Indices, settings: DataSettings, seed: int | None = None
    ) -> "torch.utils.data.Dataset[Batch]":
        """The test clips with their class numbers, or, with a seed, the training clips."""
        return Clips(dataset, part, targets(dataset, part, settings, self.classes), settings, seed)


def targets(
    dataset: SkeletonDataset, part: Indices, settings: DataSettings, classes: Mapping[Label, tuple[int, ...]]
) -> Indices:
    """(len(part), L) class numbers of the labels `classes` (`action`, `private`), in their order. Raises DataError."""
    return np.stack(
        [class_numbers(dataset, settings.column(label), classes[label], part, f"data.{label}") for label in classes], 1
    )


def top_k(logits: Tensor, targets: Tensor, label: str) -> Sums:
    """Top-1 and, of more than five classes, top-5 accuracy of (N, classes) logits."""
    metrics = {}
    for k in (1, 5):
        if logits.shape[1] > k:
            hits = logits.topk(k, 1).indices.eq(targets[:, None]).any(1)
            metrics[f"{label}_top{k}"] = (hits.sum(), len(targets))
    return metrics
