"""Who learns on what, and who is tried on what: a task of the settings, worked out for a data set."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelanon.configs.auditing import AttackerSettings, TaskSettings
from skelanon.configs.training import SplitSettings
from skelanon.train.data.splits import split
from skelanon.train.data.store import UNKNOWN, SkeletonDataset
from skelanon.train.errors import DataError

from .errors import AuditError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Exam:
    """Numbers of the sequences that attackers learn from, keep for validation, and are tried on; and the truth.

    targets: (N,) of all sequences: class numbers, or what is to be estimated (float64); classes: the label's values,
    none where it is estimated. duplicates: sequences left out of learning because they are, to the bit, tried as well.
    unseen: sequences that are not tried because nothing of their class is learned from.
    """

    task: TaskSettings
    learn: Indices
    validate: Indices
    test: Indices
    targets: NDArray[np.generic]
    classes: tuple[int, ...]
    persons: Indices
    duplicates: int
    unseen: int

    @property
    def prior(self) -> float:
        """What guessing gets: the share, among the sequences tried, of the class most frequent there; 0 of an R2."""
        if not self.classes:
            return 0.0
        return float(np.bincount(self.targets[self.test].astype(np.int64)).max() / len(self.test))


def prepare(dataset: SkeletonDataset, task: TaskSettings, person: str, attackers: AttackerSettings) -> Exam:
    """Work out a task. Raises AuditError: no such label, nothing to tell apart, nothing left to try."""
    values, persons = _column(dataset, task.label, task.name), _column(dataset, person, task.name)
    known = ~np.isnan(values) if values.dtype.kind == "f" else values != UNKNOWN
    learn, test = _parts(dataset, task.split, known, task.name)
    twins = _copies(dataset, learn, test)
    learn = learn[~twins]
    classes: tuple[int, ...] = ()
    targets = values
    unseen = 0
    if values.dtype.kind != "f":
        ordered = np.unique(values[learn])
        classes = tuple(ordered.tolist())
        targets = np.searchsorted(ordered, values).clip(max=len(ordered) - 1)
        seen = np.isin(values[test], ordered)
        unseen, test = int((~seen).sum()), test[seen]
        if len(classes) < 2 or not len(test):
            raise AuditError(f"{task.name}: `{task.label}` leaves nothing to tell apart: check `split`")
    apart = persons if task.split.by == person else None
    keep = _kept(targets[learn], None if apart is None else apart[learn], attackers.validation, bool(classes))
    return Exam(task, learn[~keep], learn[keep], test, targets, classes, persons, int(twins.sum()), unseen)


def _column(dataset: SkeletonDataset, name: str, task: str) -> NDArray[Any]:
    if name not in dataset.labels:
        raise AuditError(f"{task}: {dataset.folder} has no label `{name}`, but {sorted(dataset.labels)}")
    column: NDArray[Any] = dataset.labels[name]
    return column


def _parts(dataset: SkeletonDataset, by: SplitSettings, known: NDArray[np.bool_], task: str) -> tuple[Indices, Indices]:
    try:
        parts = split(dataset, by)
    except DataError as error:
        raise AuditError(f"{task}: {error}") from None
    learn, test = parts.train[known[parts.train]], parts.test[known[parts.test]]
    if len(learn) < 2 or not len(test):
        raise AuditError(f"{task}: no sequences whose label is known are left on one side of the split")
    return learn, test


def _copies(dataset: SkeletonDataset, learn: Indices, test: Indices) -> NDArray[np.bool_]:
    """Which sequences to learn from are tried as well."""
    digests = [hashlib.sha256(np.ascontiguousarray(dataset[int(i)].joints).data).digest() for i in (*learn, *test)]
    tried = set(digests[len(learn) :])
    return np.array([digest in tried for digest in digests[: len(learn)]], np.bool_)


def _kept(targets: NDArray[np.generic], persons: Indices | None, share: float, classes: bool) -> NDArray[np.bool_]:
    """Which of the sequences to learn from are kept for validation: a share of each class; whole persons where given.

    The choice is always the same: attackers with other seeds differ in all else.
    """
    rng = np.random.default_rng(0)
    units = np.arange(len(targets)) if persons is None else np.unique(persons, return_inverse=True)[1]
    first = np.unique(units, return_index=True)[1]
    strata = targets[first] if classes else np.zeros(len(first))
    kept = np.zeros(len(first), np.bool_)
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        kept[members[: max(1, round(share * len(members)))] if len(members) > 1 else []] = True
    return kept[units]
