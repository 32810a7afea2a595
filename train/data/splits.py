"""Which sequences train and which test, and how label values become class numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelanon.configs.training import SplitSettings
from skelanon.train.errors import DataError

from .store import UNKNOWN, SkeletonDataset

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of the sequences that train and of those that test, ascending; no sequence is in both."""

    train: Indices
    test: Indices


def split(dataset: SkeletonDataset, settings: SplitSettings) -> Split:
    """Split a data set by one of its label columns; sequences whose value is unknown are in neither part.

    Raises DataError: no such column, or a part without sequences.
    """
    column = label_column(dataset, settings.by, "data.split.by")
    known = column != UNKNOWN
    for name, wanted in settings.where.items():
        known &= np.isin(label_column(dataset, name, "data.split.where"), wanted)
    values = column % settings.modulo if settings.modulo else column
    test = known & np.isin(values, settings.test)
    train = known & ~test if settings.train is None else known & np.isin(values, settings.train)
    for name, part in (("train", train), ("test", test)):
        if not part.any():
            raise DataError(
                f"no sequence of {dataset.folder} is left to {name}: check `data.split`; "
                f"`{settings.by}` has the values {sorted(set(values[known].tolist()))}"
            )
    return Split(np.flatnonzero(train), np.flatnonzero(test))


def label_column(dataset: SkeletonDataset, name: str, key: str) -> Indices:
    """A column of whole numbers, -1 where unknown. Raises DataError, naming the setting `key`."""
    column: NDArray[Any] | None = dataset.labels.get(name)
    if column is None or column.dtype.kind != "i":
        usable = sorted(name for name, values in dataset.labels.items() if values.dtype.kind == "i")
        raise DataError(f"`{key}` is {name!r}: {dataset.folder} has the label columns {usable}")
    return column


def classes_of(dataset: SkeletonDataset, column: str, parts: Split, key: str) -> tuple[int, ...]:
    """The label values of the training sequences, ascending: class number i stands for entry i.

    Raises DataError: an unknown label, a class that is tested but never trained, or a single class.
    """
    values = label_column(dataset, column, key)
    for name, part in (("training", parts.train), ("test", parts.test)):
        unknown = int((values[part] == UNKNOWN).sum())
        if unknown:
            raise DataError(f"{unknown} of {len(part)} {name} sequences of {dataset.folder} have no label `{column}`")
    classes = tuple(np.unique(values[parts.train]).tolist())
    absent = sorted(set(values[parts.test].tolist()) - set(classes))
    if absent:
        raise DataError(f"`{column}` has the values {absent} in the test sequences, but in no training sequence")
    if len(classes) < 2:
        raise DataError(f"`{column}` has the one value {classes[0]} in all training sequences: nothing to tell apart")
    return classes


def class_numbers(dataset: SkeletonDataset, column: str, classes: Sequence[int], part: Indices, key: str) -> Indices:
    """(len(part),) class numbers of the sequences `part`. Raises DataError for a value that is none of the classes."""
    values = label_column(dataset, column, key)[part]
    ordered = np.array(classes, np.int64)
    numbers = np.searchsorted(ordered, values).clip(max=len(ordered) - 1)
    strange = sorted(set(values[ordered[numbers] != values].tolist()))
    if strange:
        raise DataError(
            f"`{column}` has the values {strange}, which are none of the classifier's {len(classes)} classes"
        )
    return numbers
