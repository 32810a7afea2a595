"""Evaluation files as figures take them: read, put together, and told by the same classifiers in every row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from skelanon.configs.training import Label
from skelanon.train.checkpoint import RunFolder
from skelanon.train.errors import CheckpointError, TrainingError
from skelanon.train.evaluate import Evaluation, Row
from skelanon.train.trained import AnonymizerRun

Kind = Literal["raw", "template", "noise", "attack", "run"]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What classifiers tell from one kind of release."""

    mean: float
    """Mean top-1 accuracy."""
    each: dict[str, float]
    """Top-1 accuracy by the classifier's run."""


def read_evaluations(files: Sequence[Path]) -> Evaluation:
    """The rows of evaluation files as one evaluation; a row that stands in several is kept once.

    Raises TrainingError: no such file, no evaluation, files of other data or classifiers, one release with two results.
    """
    first, *others = map(_read, files)
    rows = {row.release: row for row in first.rows}
    for file, other in zip(files[1:], others, strict=True):
        if (other.data, other.test_sequences, other.prior, _told(other.rows[0])) != (
            first.data, first.test_sequences, first.prior, _told(first.rows[0]),
        ):  # fmt: skip
            raise TrainingError(f"{files[0]} and {file} are of different data or classifiers: evaluate them together")
        for row in other.rows:
            if rows.setdefault(row.release, row) != row:
                raise TrainingError(f"{file} has another result for {row.release} than the file before it")
    return msgspec.structs.replace(first, rows=tuple(rows.values()))


def kind_of(release: str) -> Kind:
    """What a release is, by its name; what is nothing else must be the folder of a run."""
    kind, is_assigned, _ = release.partition("=")
    if release == "raw" or release == "template":
        return "raw" if release == "raw" else "template"
    if is_assigned and (kind == "noise" or kind == "attack"):
        return "noise" if kind == "noise" else "attack"
    return "run"


def run_of(row: Row) -> AnonymizerRun:
    """The settings of the run that a row names. Raises CheckpointError: it names none. TrainingError: no anonymizer."""
    try:
        run = RunFolder(row.release).settings()
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; the evaluation names its releases as it was given them: draw it in the folder it was made in"
        ) from error
    if not isinstance(run, AnonymizerRun):
        raise TrainingError(f"{row.release} is a run of `task: {run.task}`, not of an anonymizer")
    return run


def compared(rows: Sequence[Row], everyone: bool) -> dict[Label, list[str]]:
    """For each label the runs of the classifiers that count: the same in each row, so that rows can be compared.

    everyone: all of them; otherwise only those that no row was made against. Raises TrainingError: none is left.
    """
    counted: dict[Label, list[str]] = {"action": [], "private": []}
    for label, runs in counted.items():
        told = [{one.run: one.held_out for one in row.accuracies if one.label == label} for row in rows]
        runs += [run for run in told[0] if everyone or all(held_out[run] for held_out in told)]
        if not told[0]:
            raise TrainingError(f"the evaluation has no classifier of the label `{label}`: evaluate with one")
        if not runs:
            raise TrainingError(
                f"no {label} classifier of the evaluation is held out from all of "
                f"{', '.join(row.release for row in rows)}: evaluate with one that none of them was made against, "
                "or take all (`--all-classifiers`)"
            )
    return counted


def told_by(row: Row, runs: Sequence[str], label: Label) -> Told:
    """What the classifiers `runs` tell of a row."""
    each = {one.run: one.top1 for one in row.accuracies if one.label == label and one.run in runs}
    return Told(mean=sum(each.values()) / len(each), each=each)


def describe(evaluation: Evaluation, counted: dict[Label, list[str]], everyone: bool) -> str:
    """Which accuracies are drawn, in words."""
    which = "" if everyone else "held-out "
    numbers = {label: f"{len(runs)} {which}{label}" for label, runs in counted.items()}
    count = f"{evaluation.test_sequences:,}"
    words = f"Mean of {numbers['action']} and {numbers['private']} classifiers, {count} test sequences"
    return f"{words}\nReleases were made against some of these classifiers" if everyone else words


def _read(file: Path) -> Evaluation:
    try:
        evaluation = msgspec.json.decode(file.read_bytes(), type=Evaluation)
    except OSError as error:
        raise TrainingError(f"{file} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise TrainingError(f"{file} is no evaluation ({error}): `skelanon evaluate --out` writes one") from error
    if not evaluation.rows:
        raise TrainingError(f"{file} is an evaluation without rows: `skelanon evaluate` needs releases")
    if len({frozenset(_told(row)) for row in evaluation.rows}) > 1:
        raise TrainingError(f"{file} is damaged: its rows are told by different classifiers")
    return evaluation


def _told(row: Row) -> set[tuple[str, str]]:
    """The classifiers of a row."""
    return {(one.run, one.label) for one in row.accuracies}
