"""Figure 5: how accuracies and distance go over the epochs of an anonymizer's training."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skelanon.train.checkpoint import RunFolder
from skelanon.train.errors import TrainingError
from skelanon.train.evaluate import CAUTION

from .page import BLUE, PURPLE, TEXT, VERMILION, label_ends, name_axes, page, panel, save

_GROUPS: Final = {"action": BLUE, "private": VERMILION, "adversary": PURPLE}
_ACCURACY: Final = re.compile(r"(action|private|adversary)\d*_top1")
_STYLES: Final[tuple[Any, ...]] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))

_KEY_INCHES: Final = 0.17
"""For each run."""


class RunCurves(msgspec.Struct, frozen=True, kw_only=True):
    """One run, at the epochs after which it was tested."""

    run: str
    """Its folder."""
    epochs: tuple[int, ...]
    """How many were finished."""
    accuracies: dict[str, tuple[float, ...]]
    """Top-1 accuracies on test sequences: `action1_top1`, ..., `private1_top1`, ..., `adversary1_top1`."""
    rmse_m: tuple[float, ...]
    """Root mean square difference of coordinates from raw, all joints of test sequences."""


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of figure 5."""

    caution: str = CAUTION
    """What they are not."""
    runs: tuple[RunCurves, ...]
    """In the order of their line styles."""


def draw_curves(runs: Sequence[str], out: Path) -> Curves:
    """Draw the history of runs, finished or not, of anonymizers: accuracies above, distance below.

    Raises CheckpointError: no run. TrainingError: no epoch yet, a run that is no anonymizer's, too many runs, and what
    `page.save` raises.
    """
    if len(runs) > len(_STYLES):
        raise TrainingError(f"{len(runs)} runs are too many to tell apart: name {len(_STYLES)} at most")
    numbers = Curves(runs=tuple(map(_read, runs)))
    key = _KEY_INCHES * len(runs) if len(runs) > 1 else 0.0
    height = 5.6 + key
    subtitle = f"Classifiers that {'these runs' if key else runs[0]} trained with, on test sequences"
    figure = page(6.4, height, "Training, epoch by epoch", subtitle)
    above, below = panel(figure, 0.75, 2.5, 4.3, 2.4), panel(figure, 0.75, 1.0, 4.3, 1.2)
    last = max(run.epochs[-1] for run in numbers.runs)
    first = min(run.epochs[0] for run in numbers.runs)
    for axes in (above, below):
        axes.set_xlim(first - 0.5 * (first == last), last + 0.5 * (first == last))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.tick_params(labelbottom=False)
    _draw_accuracies(above, numbers)
    _draw_distances(below, numbers)
    if key:
        lines = [
            Line2D([], [], color=TEXT, linestyle=style, label=run) for run, style in zip(runs, _STYLES, strict=False)
        ]
        figure.legend(
            handles=lines, loc="upper left", bbox_to_anchor=(0.75 / 6.4, 1 - 0.65 / height), frameon=False, fontsize=8,
            labelcolor=TEXT, handlelength=3, borderaxespad=0, borderpad=0, labelspacing=0.4,
        )  # fmt: skip
    save(figure, out, numbers)
    return numbers


def _read(path: str) -> RunCurves:
    folder = RunFolder(path)
    task = folder.settings().task
    if task not in ("adversarial", "ensemble"):
        raise TrainingError(f"{path} is a run of `task: {task}`: the curves are those of anonymizers")
    checkpoint = folder.load()
    # After epochs that were not tested there are only the losses of training, and a distance that is one of them.
    tested = [line for line in checkpoint.history if "action1_top1" in line] if checkpoint else []
    if not tested:
        raise TrainingError(f"{path} has no history: no epoch with a test is finished yet, train it first")
    names = [name for name in tested[0] if _ACCURACY.fullmatch(name)]
    return RunCurves(
        run=path,
        epochs=tuple(int(line["epoch"]) for line in tested),
        accuracies={name: tuple(line[name] for line in tested) for name in names},
        rmse_m=tuple(line["distance_m2"] ** 0.5 for line in tested),
    )


def _draw_accuracies(axes: Axes, numbers: Curves) -> None:
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("Accuracy", size=9, color=TEXT)
    ends: dict[str, list[float]] = {}
    for run, style in zip(numbers.runs, _STYLES, strict=False):
        for name, values in run.accuracies.items():
            group = next(group for group in _GROUPS if name.startswith(group))
            _line(axes, run.epochs, values, _GROUPS[group], style)
            ends.setdefault(group, []).append(values[-1])
    words = {"action": "action", "private": "private, frozen", "adversary": "private, adversary"}
    label_ends(axes, [(sum(ends[group]) / len(ends[group]), words[group], _GROUPS[group]) for group in ends])


def _draw_distances(axes: Axes, numbers: Curves) -> None:
    for run, style in zip(numbers.runs, _STYLES, strict=False):
        _line(axes, run.epochs, run.rmse_m, TEXT, style)
    axes.set_ylim(0, 1.1 * max(max(run.rmse_m) for run in numbers.runs) or 0.01)
    name_axes(axes, "Epoch", "RMSE, m")


def _line(axes: Axes, epochs: Sequence[int], values: Sequence[float], colour: str, style: Any) -> None:
    axes.plot(epochs, values, color=colour, linestyle=style, linewidth=1.5, marker="o" if len(epochs) == 1 else None)
