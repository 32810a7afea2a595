"""Runs the epochs of any task, on a CPU, a GPU or several, and keeps what is needed to go on after a break.

Everything random in an epoch follows from the seed and the epoch's number. A run that was killed goes on from its last
whole epoch, and on a CPU ends with the weights of one that was not.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from skelanon.configs.training import (
    AdversarialRun,
    AutoEncoderRun,
    ClassifierRun,
    EnsembleRun,
    TokensRun,
    TrainerSettings,
    TrainingRun,
)

from .adversarial import AdversarialTask
from .auto_encoder_pretraining import AutoEncoderTask
from .checkpoint import Checkpoint, DataRecord, RunFolder, load_state
from .classifier import ClassifierTask
from .data.clips import Batch, EpochBatches, OrderedBatches
from .data.splits import Split, split
from .data.store import SkeletonDataset
from .ensemble import EnsembleTask
from .errors import CheckpointError, TrainingError
from .task import Task
from .tokens import TokensTask

Metrics = dict[str, float]

_TEST_BATCH: Final = 4
"""Clips of a test batch for each clip of a training batch: without gradients there is room for more."""
_FARTHEST_M2: Final = 1.0
"""A mean squared displacement beyond this belongs to no anonymizer: bodies are not two metres tall."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, after each step and each epoch.

    epoch: the epoch that runs, from 1, of `epochs`. step: steps done in it, of `steps`. metrics: the losses of the
    last step, or, where `step` is `steps` and `finished` is true, of the epoch.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    metrics: Metrics
    finished: bool = False


def train(run: TrainingRun, report: Callable[[Progress], None] = lambda _: None) -> list[Metrics]:
    """Train what a run's settings say, or go on where it was broken off; returns the metrics of each epoch.

    report: called in the training process of rank 0. Raises DataError, CheckpointError, TrainingError.
    """
    fabric = create_fabric(run.trainer)
    torch.manual_seed(run.trainer.seed)
    dataset = SkeletonDataset(run.data.folder)
    parts = split(dataset, run.data.split)
    task = create_task(run, dataset, parts)
    train_clips = task.clips(dataset, parts.train, run.data, run.trainer.seed)
    test_clips = task.clips(dataset, parts.test, run.data)
    _check_shares(run.trainer, _length(train_clips), _length(test_clips))
    folder = RunFolder(run.out)
    if fabric.is_global_zero:
        folder.begin(run, _record(dataset, parts, task))
    checkpoint = folder.load()
    if checkpoint is not None and checkpoint.epoch >= run.trainer.epochs:
        return checkpoint.history
    fabric.launch()  # only now: what is wrong with settings or data is said once, by the first process
    return _Trainer(fabric, run.trainer, task, folder, report).fit(train_clips, test_clips, checkpoint)


def create_task(run: TrainingRun, dataset: SkeletonDataset, parts: Split) -> Task:
    """The task of a run, its first weights decided by torch's random state."""
    match run:
        case ClassifierRun():
            return ClassifierTask(run, dataset, parts)
        case AutoEncoderRun():
            return AutoEncoderTask(run)
        case AdversarialRun():
            return AdversarialTask(run, dataset, parts)
        case EnsembleRun():
            return EnsembleTask(run, dataset, parts)
        case TokensRun():
            return TokensTask(run, dataset, parts)


def create_fabric(settings: TrainerSettings) -> Fabric:
    """Processes, devices and precision, not started yet. Raises TrainingError: settings that do not fit the machine."""
    accelerator = settings.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < settings.devices:
        raise TrainingError(
            f"`trainer.devices` is {settings.devices}, but torch sees {torch.cuda.device_count()} CUDA devices"
        )
    if settings.batch_size % settings.devices:
        raise TrainingError(
            f"`trainer.batch_size` is {settings.batch_size}: it must be a multiple of {settings.devices} devices"
        )
    mixed = None if settings.precision == "32-true" else _Autocast(settings.precision, accelerator)
    return Fabric(
        accelerator=accelerator,
        devices=settings.devices,
        strategy="ddp_find_unused_parameters_true" if settings.devices > 1 else "auto",  # Shift-GCN has some
        plugins=mixed,
    )


class _Autocast(MixedPrecision):
    """Mixed precision inside the networks alone: Fabric's own also rounds what goes in, which moves joints by mm."""

    def convert_input(self, data: Any) -> Any:
        return data


def _check_shares(settings: TrainerSettings, train: int, test: int) -> None:
    """Each process needs an equal share of each training batch, and something to test. Raises TrainingError."""
    batch = min(settings.batch_size, train)
    if batch % settings.devices or test < settings.devices:
        raise TrainingError(
            f"`trainer.devices` is {settings.devices}, too many for batches of {batch} and {test} test clips"
        )


def _record(dataset: SkeletonDataset, parts: Split, task: Task) -> DataRecord:
    return DataRecord(
        fingerprint=dataset.info.fingerprint,
        licence=dataset.info.licence,
        train=len(parts.train),
        test=len(parts.test),
        classes=task.classes,
    )


class _Trainer:
    """The loop over epochs, the same for every task."""

    def __init__(
        self,
        fabric: Fabric,
        settings: TrainerSettings,
        task: Task,
        folder: RunFolder,
        report: Callable[[Progress], None],
    ) -> None:
        self._fabric, self._settings, self._task, self._folder = fabric, settings, task, folder
        self._report = report if fabric.is_global_zero else lambda _: None
        self._history: list[Metrics] = []
        task.setup(fabric)

    def fit(self, train: Dataset[Batch], test: Dataset[Batch], checkpoint: Checkpoint | None) -> list[Metrics]:
        """All epochs that `checkpoint` does not hold, each followed by another. Returns the metrics of all."""
        settings, place = self._settings, (self._fabric.global_rank, self._fabric.world_size)
        order = EpochBatches(_length(train), settings.batch_size, settings.seed, *place)
        test_order = OrderedBatches(_length(test), max(1, settings.batch_size * _TEST_BATCH // place[1]), *place)
        train_batches, test_batches = self._loader(train, order), self._loader(test, test_order)
        done = self._resume(checkpoint)
        with ExitStack() as stack:
            board = stack.enter_context(self._board(done)) if self._fabric.is_global_zero else None
            if not settings.epochs:
                self._history.append({"epoch": 0, **self._test(test_batches)})
                self._save(0)
            for epoch in range(done, settings.epochs):
                order.epoch = epoch
                metrics = self._epoch(epoch, train_batches, len(order))
                if (epoch + 1) % settings.test_every == 0 or epoch + 1 == settings.epochs:
                    metrics |= self._test(test_batches)
                self._check_finite(metrics | self._sizes(), epoch, len(order))
                self._history.append({"epoch": epoch + 1, **metrics})
                if board:
                    _show(board, metrics, epoch + 1)
                self._save(epoch + 1)
                self._report(Progress(epoch + 1, settings.epochs, len(order), len(order), metrics, finished=True))
        return self._history

    def _loader(self, clips: Dataset[Batch], order: EpochBatches | OrderedBatches) -> Iterable[Batch]:
        workers = self._settings.workers
        loader = DataLoader(clips, batch_sampler=order, num_workers=workers, persistent_workers=workers > 0)
        return cast(Iterable[Batch], self._fabric.setup_dataloaders(loader, use_distributed_sampler=False))

    @contextmanager
    def _board(self, done: int) -> Iterator[SummaryWriter]:
        board = SummaryWriter(str(self._folder.path / "tensorboard"), purge_step=done + 1)
        with closing(board):
            yield board

    def _resume(self, checkpoint: Checkpoint | None) -> int:
        """Take up a checkpoint, and return how many epochs it has behind it."""
        if checkpoint is None:
            return 0
        for name, learner in self._task.learners.items():
            what = f"the checkpoint of {self._folder.path}"
            load_state(learner.network, checkpoint.modules.get(name, {}), what)
            try:
                learner.optimizer.load_state_dict(checkpoint.optimizers[name])
            except (KeyError, ValueError) as error:
                raise CheckpointError(f"{what} holds no state for the optimizer of `{name}`") from error
        self._history = checkpoint.history
        return checkpoint.epoch

    def _epoch(self, epoch: int, batches: Iterable[Batch], steps: int) -> Metrics:
        """Train an epoch; returns the means of its losses."""
        torch.manual_seed(_seed(self._settings.seed, epoch, self._fabric.global_rank))
        self._task.train()
        for learner in self._task.learners.values():
            learner.begin_epoch(epoch)
        sums: dict[str, list[float]] = {}
        for step, batch in enumerate(batches):
            losses = self._means(self._task.step(batch, epoch * steps + step))
            self._check_finite(losses, epoch, step + 1)
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
            self._report(Progress(epoch + 1, self._settings.epochs, step + 1, steps, losses))
        return {name: math.fsum(values) / len(values) for name, values in sums.items()}

    def _means(self, losses: dict[str, Tensor]) -> Metrics:
        """Each loss as the mean over all processes."""
        together = self._fabric.all_reduce(torch.stack([value.double() for value in losses.values()]), reduce_op="mean")
        return dict(zip(losses, cast(Tensor, together).tolist(), strict=True))

    def _sizes(self) -> Metrics:
        """The largest weight or statistic of each network that learns, which is not finite where one of them is not."""
        sizes = {}
        for name, learner in self._task.learners.items():
            largest = [tensor.abs().amax().float() for tensor in learner.network.state_dict().values()]
            sizes[f"the largest weight of `{name}`"] = float(torch.stack(largest).amax())
        return sizes

    def _check_finite(self, values: Metrics, epoch: int, step: int) -> None:
        faults = [f"{name} is not finite" for name, value in values.items() if not math.isfinite(value)]
        if values.get("distance_m2", 0.0) > _FARTHEST_M2:
            faults.append(f"joints are moved by {values['distance_m2'] ** 0.5:.0f} m")
        if faults:
            raise TrainingError(
                f"training has diverged: {', '.join(faults)} in epoch {epoch + 1}, step {step}; "
                f"lower the learning rate; {self._folder.path} holds the {epoch} epochs before"
            )

    @torch.no_grad()
    def _test(self, batches: Iterable[Batch]) -> Metrics:
        """Metrics of the test sequences, over all processes."""
        for learner in self._task.learners.values():
            learner.wrapped.eval()
        totals: dict[str, Tensor] = {}
        for batch in batches:
            for name, (value, count) in self._task.measure(batch).items():
                total = torch.stack([value.detach().double(), value.new_tensor(count, dtype=torch.float64)])
                totals[name] = totals[name] + total if name in totals else total
        reduced = {name: self._fabric.all_reduce(total, reduce_op="sum") for name, total in totals.items()}
        return {name: float(total[0] / total[1]) for name, total in reduced.items()}

    def _save(self, epoch: int) -> None:
        """In the first process; where it cannot, all raise its error, lest the others wait for it."""
        learners, failure = self._task.learners, None
        if self._fabric.is_global_zero:
            checkpoint = Checkpoint(
                epoch=epoch,
                modules={name: learner.network.state_dict() for name, learner in learners.items()},
                optimizers={name: learner.optimizer.state_dict() for name, learner in learners.items()},
                history=self._history,
            )
            try:
                self._folder.save(checkpoint)
            except CheckpointError as error:
                failure = error
        message = self._fabric.broadcast("" if failure is None else str(failure))
        if message:
            raise CheckpointError(message) from failure


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _show(board: SummaryWriter, metrics: Metrics, epoch: int) -> None:
    """At once, before the checkpoint: after a break, what the checkpoint does not hold is written again instead."""
    for name, value in metrics.items():
        board.add_scalar(name, value, epoch)
    board.flush()


def _length(clips: Dataset[Batch]) -> int:
    return len(clips)  # type: ignore[arg-type]
