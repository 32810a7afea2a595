"""Figure 3: what held-out classifiers tell, by the size of the ensembles that anonymizers were trained against."""

from pathlib import Path

import msgspec
from matplotlib.axes import Axes

from skelanon.configs.training import Label
from skelanon.train.errors import TrainingError
from skelanon.train.evaluate import CAUTION

from .evaluations import Told, compared, describe, kind_of, read_evaluations, run_of, told_by
from .page import BLUE, VERMILION, label_ends, name_axes, page, panel, save

_COLOURS: dict[Label, str] = {"action": BLUE, "private": VERMILION}


class SizedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One anonymizer."""

    release: str
    """Its run."""
    size: int
    """Privacy classifiers that it was trained against."""
    told: dict[Label, Told]
    """Accuracies by label."""


class EnsembleSizes(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of figure 3."""

    caution: str = CAUTION
    """What they are not."""
    data: str
    """Fingerprint of the data set."""
    test_sequences: int
    """How many sequences were told."""
    all_classifiers: bool
    """Whether classifiers count that a run was trained against."""
    prior: dict[str, float]
    """What guessing gets."""
    raw: dict[Label, Told] | None
    """What is told from raw skeletons, where that was evaluated."""
    runs: tuple[SizedRun, ...]
    """The anonymizers, by size."""


def draw_ensemble_size(evaluation: Path, out: Path, *, all_classifiers: bool = False) -> EnsembleSizes:
    """Draw the runs of an evaluation file, and `raw` where it is there; other rows are left out.

    Classifiers that one of the runs was trained against do not count, in no row, unless `all_classifiers`.
    Raises TrainingError, CheckpointError: see `page.save`, `evaluations`; no row is an anonymizer's run.
    """
    table = read_evaluations([evaluation])
    sizes = {row.release: len(run_of(row).private) for row in table.rows if kind_of(row.release) == "run"}
    if not sizes:
        raise TrainingError(
            f"{evaluation} has no row of an anonymizer's run: evaluate folders of `task: ensemble` runs"
        )
    rows = [row for row in table.rows if kind_of(row.release) in ("raw", "run")]
    counted = compared(rows, all_classifiers)
    told = {row.release: {label: told_by(row, runs, label) for label, runs in counted.items()} for row in rows}
    numbers = EnsembleSizes(
        data=table.data,
        test_sequences=table.test_sequences,
        all_classifiers=all_classifiers,
        prior=table.prior,
        raw=told.get("raw"),
        runs=tuple(
            SizedRun(release=release, size=size, told=told[release])
            for release, size in sorted(sizes.items(), key=lambda item: item[1])
        ),
    )
    glue = "; small" if all_classifiers else "\nSmall"
    subtitle = f"{describe(table, counted, all_classifiers)}{glue} dots: single classifiers"
    figure = page(5.8, 4.5, "Accuracy by size of the ensemble", subtitle)
    _draw(panel(figure, 0.7, 1.0, 3.9, 2.6), numbers)
    save(figure, out, numbers, [evaluation])
    return numbers


def _draw(axes: Axes, numbers: EnsembleSizes) -> None:
    sizes = sorted({run.size for run in numbers.runs})
    axes.set(xlim=(sizes[0] - 0.4, sizes[-1] + 0.4), ylim=(0, 1.02), xticks=sizes)
    name_axes(axes, "Privacy classifiers trained against", "Accuracy")
    labels: list[tuple[float, str, str]] = []
    for label, colour in _COLOURS.items():
        means = []
        for size in sizes:
            told = [run.told[label] for run in numbers.runs if run.size == size]
            means.append(sum(one.mean for one in told) / len(told))
            dots = [accuracy for one in told for accuracy in one.each.values()]
            axes.plot([size + 0.07] * len(dots), dots, "o", color=colour, markersize=4, alpha=0.5, markeredgewidth=0)
        axes.plot(sizes, means, "-o", color=colour, linewidth=1.8, markersize=6, zorder=3)
        labels.append((means[-1], label, colour))
        if numbers.raw:
            axes.axhline(numbers.raw[label].mean, color=colour, linewidth=1.2, dashes=(5, 3))
            labels.append((numbers.raw[label].mean, f"{label}, raw", colour))
        if label in numbers.prior:
            axes.axhline(numbers.prior[label], color=colour, linewidth=1.0, linestyle=":")
            labels.append((numbers.prior[label], f"{label}, prior", colour))
    label_ends(axes, labels)
