"""Frozen evaluation: what classifiers that were trained on raw skeletons still tell from released ones.

This is how the paper reports, and it flatters every anonymizer: an attacker who retrains on released skeletons reads
far more. Frozen numbers say how far training has come; they are no measure of privacy.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import torch
from torch import nn
from torch.utils.data import DataLoader

from skelanon.configs.training import DataSettings, Label

from .anonymizers.normalise import Normalised
from .anonymizers.whole_clip import as_clips
from .data.clips import Batch, Clips, OrderedBatches
from .data.splits import split
from .data.store import SkeletonDataset
from .errors import TrainingError
from .releases import Release, create_release
from .task import targets
from .trained import TrainedClassifier, load_classifier

CAUTION: Final = (
    "These are frozen-attacker numbers: the privacy classifiers were trained on raw skeletons only. "
    "Attackers that retrain on released skeletons read far more; no privacy follows from these numbers."
)


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """What one classifier tells from released skeletons."""

    run: str
    """Folder of the classifier's run."""
    network: str
    """Its architecture."""
    label: Label
    """What it tells."""
    held_out: bool
    """Whether the release was made without it: neither trained against it nor aimed at it."""
    top1: float
    """Share of the test sequences that it tells right."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of release."""

    release: str
    """As it was asked for: `raw`, `noise=0.01`, the folder of a run, ..."""
    rmse_m: float
    """Root mean square difference of coordinates from raw, over measured joints, normalised axes."""
    mpjpe_m: float
    """Mean distance of joints from where they were."""
    accuracies: tuple[Accuracy, ...]
    """One for each classifier."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A table of releases by classifiers."""

    caution: str = CAUTION
    """What these numbers are not."""
    data: str
    """Fingerprint of the data set."""
    test_sequences: int
    """How many sequences were released and told."""
    prior: dict[str, float]
    """For each label the share of its most frequent class among the test sequences: what guessing gets."""
    rows: tuple[Row, ...]
    """One for each release."""


def evaluate(
    releases: Sequence[str],
    classifiers: Sequence[str],
    *,
    batch_size: int = 64,
    device: str = "cpu",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Release the test sequences of the classifiers' own data in each way, and let every classifier tell them.

    releases: `raw`, `template`, `noise=STD_M`, `attack=RUN` (of a privacy classifier), or the folder of an
    anonymizer's run. classifiers: folders of classifiers' runs, all of the same data, split and clips.
    report: called with (batches done, batches in all). Raises CheckpointError, TrainingError, DataError.
    """
    _check_device(device)
    told = [load_classifier(path) for path in classifiers]
    settings = _common_data(told)
    dataset = SkeletonDataset(settings.folder)
    part = split(dataset, settings.split).test
    classes = {one.run.label: one.classes for one in told}
    numbers = targets(dataset, part, settings, classes)
    clips = Clips(dataset, part, numbers, settings)
    ways = [create_release(name, told, settings.bodies) for name in releases]
    total = len(ways) * -(-len(clips) // batch_size)
    tables = []
    for number, way in enumerate(ways):
        loader: DataLoader[Batch] = DataLoader(clips, batch_sampler=OrderedBatches(len(clips), batch_size))
        table = _Table(way, told, list(classes), settings, dataset.info.measured, device)
        for step, batch in enumerate(loader, 1):
            table.add(Batch(*(tensor.to(device) for tensor in batch)))
            report(number * len(loader) + step, total)
        tables.append(table)
    shares = [torch.bincount(column).max().item() / len(part) for column in torch.from_numpy(numbers).unbind(1)]
    return Evaluation(
        data=dataset.info.fingerprint,
        test_sequences=len(part),
        prior=dict(zip(classes, shares, strict=True)),
        rows=tuple(table.row(name) for name, table in zip(releases, tables, strict=True)),
    )


class _Table:
    """Collects one row, batch by batch."""

    def __init__(
        self,
        way: Release,
        told: Sequence[TrainedClassifier],
        labels: Sequence[Label],
        settings: DataSettings,
        measured: Sequence[bool],
        device: str,
    ) -> None:
        self._way, self._told, self._labels = way, told, labels
        self._normalise = Normalised(nn.Identity(), settings.bodies).to(device)
        self._measured = torch.tensor(measured, device=device)
        self._right = [0] * len(told)
        self._squared = self._moved = self._joints = 0.0
        self._clips = 0

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Release a batch and let every classifier tell it."""
        raw = self._normalise.sequence(batch.joints, batch.present)
        released = self._way.release(batch, raw)
        there = batch.present[..., None] * self._measured  # (N, T, P, V)
        squared = (released - raw).square().sum(-1) * there
        self._squared += float(squared.sum())
        self._moved += float(squared.sqrt().sum())
        self._joints += float(there.sum())
        self._clips += len(raw)
        clips = as_clips(released)
        for number, one in enumerate(self._told):
            wanted = batch.targets[:, self._labels.index(one.run.label)]
            self._right[number] += int(one.network.to(clips.device)(clips).argmax(1).eq(wanted).sum())

    def row(self, name: str) -> Row:
        """The finished row."""
        return Row(
            release=name,
            rmse_m=(self._squared / (3 * self._joints)) ** 0.5,
            mpjpe_m=self._moved / self._joints,
            accuracies=tuple(
                Accuracy(
                    run=str(one.path),
                    network=one.run.network.name,
                    label=one.run.label,
                    held_out=one.path.resolve() not in self._way.against,
                    top1=right / self._clips,
                )
                for one, right in zip(self._told, self._right, strict=True)
            ),
        )


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise TrainingError(f"the device is {device!r}, which torch cannot use here: take cpu or cuda") from error


def _common_data(told: Sequence[TrainedClassifier]) -> DataSettings:
    """The data settings that all classifiers share. Raises TrainingError."""
    if not told:
        raise TrainingError("an evaluation needs classifiers: name their runs")
    first, *others = told
    of_its_label = {one.run.label: one for one in reversed(told)}
    for other in others:
        if other.data.fingerprint != first.data.fingerprint or other.run.data != first.run.data:
            raise TrainingError(f"{first.path} and {other.path} were trained on different data, splits or clips")
        if other.classes != (one := of_its_label[other.run.label]).classes:
            raise TrainingError(f"{one.path} and {other.path} tell different classes apart")
    return first.run.data
