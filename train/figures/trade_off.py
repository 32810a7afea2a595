"""Figure 4 and table 5: what is left of actions against what is left of the private label."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from skelanon.configs.training import Label
from skelanon.train.errors import TrainingError
from skelanon.train.evaluate import CAUTION, Row

from .evaluations import Kind, Told, compared, describe, kind_of, read_evaluations, run_of, told_by
from .page import BLUE, FAINT, QUIET, TEXT, label_points, name_axes, page, panel, save

_MARKERS: Final[dict[str, str]] = {
    "raw": "s", "template": "D", "attack": "X", "noise": "o", "residual": "o", "auto_encoder": "^", "unet": "v",
}  # fmt: skip
_NAMES: Final[dict[str, str]] = {"residual": "residual", "auto_encoder": "auto-encoder", "unet": "U-Net"}
_Place = tuple[float, float]
_END: Final = 1.03
"""Of both axes: room for marks at 1."""
_LETTERS: Final = {"alpha": "α", "beta": "β", "k": "k"}


class TradeOffPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A row of table 5. What belongs to runs is null for other releases."""

    release: str
    """As it was asked for."""
    kind: Kind
    """What that is."""
    task: str | None = None
    """`adversarial` or `ensemble`."""
    anonymizer: str | None = None
    """Its architecture."""
    alpha: float | None = None
    """Weight of privacy."""
    beta: float | None = None
    """Weight of the distance to the raw skeleton."""
    k: int | None = None
    """Minimisation steps for each maximisation step, of adversarial runs."""
    noise_std_m: float | None = None
    """Standard deviation of noise."""
    rmse_m: float
    """Root mean square difference of coordinates from raw."""
    action: Told
    """Accuracy of recognizers."""
    private: Told
    """Accuracy of privacy classifiers."""


class TradeOff(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of figure 4: table 5."""

    caution: str = CAUTION
    """What they are not."""
    data: str
    """Fingerprint of the data set."""
    test_sequences: int
    """How many sequences were told."""
    all_classifiers: bool
    """Whether classifiers count that a release was made against."""
    prior: dict[str, float]
    """What guessing gets."""
    points: tuple[TradeOffPoint, ...]
    """One for each release."""


def draw_trade_off(evaluations: Sequence[Path], out: Path, *, all_classifiers: bool = False) -> TradeOff:
    """Draw every release of evaluation files, all of the same data and classifiers.

    Classifiers that one of the releases was made against do not count, for none, unless `all_classifiers`.
    Raises TrainingError, CheckpointError: see `page.save`, `evaluations`.
    """
    table = read_evaluations(evaluations)
    counted = compared(table.rows, all_classifiers)
    numbers = TradeOff(
        data=table.data,
        test_sequences=table.test_sequences,
        all_classifiers=all_classifiers,
        prior=table.prior,
        points=tuple(_point(row, counted) for row in table.rows),
    )
    figure = page(6.2, 6.3, "Action against private accuracy", describe(table, counted, all_classifiers))
    axes = panel(figure, 0.7, 1.0, 4.8, 4.3)
    _draw(axes, numbers)
    _add_key(axes, [point for point in numbers.points if point.kind == "run"])
    save(figure, out, numbers, evaluations)
    return numbers


def _point(row: Row, counted: dict[Label, list[str]]) -> TradeOffPoint:
    kind = kind_of(row.release)
    point = TradeOffPoint(
        release=row.release,
        kind=kind,
        noise_std_m=_std_m(row.release) if kind == "noise" else None,
        rmse_m=row.rmse_m,
        action=told_by(row, counted["action"], "action"),
        private=told_by(row, counted["private"], "private"),
    )
    if kind != "run":
        return point
    run = run_of(row)
    return msgspec.structs.replace(
        point,
        task=run.task,
        anonymizer=run.anonymizer.kind,
        alpha=run.objective.alpha,
        beta=run.objective.beta,
        k=run.k if run.task == "adversarial" else None,
    )


def _std_m(release: str) -> float:
    try:
        return float(release.partition("=")[2])
    except ValueError:
        raise TrainingError(f"{release}: the standard deviation must be a number of metres, noise=0.01") from None


def _draw(axes: Axes, numbers: TradeOff) -> None:
    axes.set(xlim=(0, _END), ylim=(0, _END))
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    name_axes(axes, "Private accuracy", "Action accuracy")
    lines = [*_priors(axes, numbers.prior), *_noise_curve(axes, numbers.points)]
    words = _labels(numbers.points)
    labels = []
    for point in numbers.points:
        x, y = point.private.mean, point.action.mean
        colour = BLUE if point.kind == "run" else QUIET if point.kind == "noise" else TEXT
        axes.plot(
            x, y, _MARKERS[point.anonymizer or point.kind], color=colour, zorder=4,
            markersize=4 if point.kind == "noise" else 6.5, markerfacecolor=_fill(point.task, colour),
        )  # fmt: skip
        labels.append((x, y, words[point.release], colour))
    label_points(axes, labels, lines)


def _fill(task: str | None, colour: str) -> str:
    return "white" if task == "ensemble" else colour


def _noise_curve(axes: Axes, points: Sequence[TradeOffPoint]) -> list[tuple[_Place, _Place]]:
    """Connect the noise rows by standard deviation; returns the pieces of the curve."""
    noise = sorted(
        (point.noise_std_m, point.private.mean, point.action.mean) for point in points if point.noise_std_m is not None
    )
    places = [(x, y) for _, x, y in noise]
    axes.plot([x for x, _ in places], [y for _, y in places], color=QUIET, linewidth=1.0, zorder=2)
    return list(pairwise(places))


def _priors(axes: Axes, prior: dict[str, float]) -> list[tuple[_Place, _Place]]:
    """Draw what guessing gets, named outside the axes; returns the lines."""
    lines = []
    style: dict[str, Any] = {"size": 7.5, "color": QUIET, "annotation_clip": False}
    for label, value in prior.items():
        if label == "action":
            start, end = (0.0, value), (_END, value)
            axes.annotate("prior", end, (4, 0), textcoords="offset points", ha="left", va="center", **style)
        else:
            start, end = (value, 0.0), (value, _END)
            axes.annotate("prior", end, (0, 3), textcoords="offset points", ha="center", va="bottom", **style)
        axes.plot(*zip(start, end, strict=True), color=QUIET, linewidth=1.0, linestyle=":")
        lines.append((start, end))
    return lines


def _labels(points: Sequence[TradeOffPoint]) -> dict[str, str]:
    """By release. Runs: alpha, and of beta and k those in which the runs differ."""
    runs = [point for point in points if point.kind == "run"]
    shown = ["alpha", *(key for key in ("beta", "k") if _differ(runs, key))]
    labels: dict[str, str] = {point.release: point.kind for point in points}
    for run in runs:
        values = [(_LETTERS[key], getattr(run, key)) for key in shown]
        labels[run.release] = " ".join(f"{letter} {value:g}" for letter, value in values if value is not None)
    noise = sorted((point.noise_std_m, point.release) for point in points if point.noise_std_m is not None)
    labels |= {release: f"{'' if number else 'noise '}{std_m:g} m" for number, (std_m, release) in enumerate(noise)}
    return labels


def _add_key(axes: Axes, runs: Sequence[TradeOffPoint]) -> None:
    """What the runs' marks mean, where there are several: shapes for architectures, hollow for ensembles."""
    words = {}
    for run in runs:
        names = [_NAMES[run.anonymizer or ""], f"({run.task})" if _differ(runs, "task") else ""]
        words[_MARKERS[run.anonymizer or ""], _fill(run.task, BLUE)] = " ".join(names).strip()
    marks = [
        Line2D([], [], color=BLUE, marker=marker, markerfacecolor=fill, linestyle="", markersize=6.5, label=label)
        for (marker, fill), label in words.items()
    ]
    if len(marks) > 1:
        axes.legend(
            handles=marks, loc="lower right", bbox_to_anchor=(1, 0.08), fontsize=8, labelcolor=TEXT, frameon=False
        )


def _differ(runs: Sequence[TradeOffPoint], key: str) -> bool:
    return len({getattr(run, key) for run in runs}) > 1
