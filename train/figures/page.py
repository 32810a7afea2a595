"""What all figures share: the page, axes without clutter, labels beside what they name, and how it is saved.

Figures are built of objects; nothing of matplotlib's global state is used or changed.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from skelanon.train.checkpoint import write_atomically
from skelanon.train.errors import TrainingError

BLUE, VERMILION, PURPLE = "#0072b2", "#d55e00", "#a34e88"
"""For actions, for what is private, for the adversary that learns: the colour-blind can tell them apart."""
TEXT, QUIET, FAINT = "#262626", "#6b6b6b", "#d9d9d9"
SMALL_PRINT: Final = (
    "Frozen attackers, trained on raw skeletons only. Attackers that retrain on released skeletons\n"
    "read far more; no privacy follows from these numbers."
)
"""`skelanon.train.evaluate.CAUTION`, shortened."""

_Point = tuple[float, float]
_DPI: Final = 150
_LINE_POINTS: Final = 11.0
"""Least distance of two labels."""
_MARGIN: Final = 0.15  # inches


def page(width: float, height: float, title: str, subtitle: str, small_print: str = SMALL_PRINT) -> Figure:
    """An empty page, in inches: words at its top, 0.8 high, and small print at its foot, 0.4 high."""
    figure = Figure((width, height), facecolor="white")
    FigureCanvasAgg(figure)
    left = _MARGIN / width
    figure.text(left, 1 - 0.12 / height, title, va="top", size=11, weight="bold", color=TEXT)
    figure.text(left, 1 - 0.37 / height, subtitle, va="top", size=8, color=QUIET, linespacing=1.4)
    figure.text(left, 0.1 / height, small_print, va="bottom", size=6.5, color=QUIET, linespacing=1.3)
    return figure


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, with two spines and faint horizontal lines."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=8, length=3)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def name_axes(axes: Axes, across: str, up: str) -> None:
    """What is drawn along each axis."""
    axes.set_xlabel(across, size=9, color=TEXT)
    axes.set_ylabel(up, size=9, color=TEXT)


def label_ends(axes: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
    """Write (height, words, colour) right of the axes, moved apart where they would overlap; limits must be final."""
    ordered = sorted(labels)
    low, high = axes.get_ylim()
    points = axes.get_window_extent().height / axes.figure.dpi * 72
    wanted = [(height - low) / (high - low) * points for height, _, _ in ordered]
    for (height, words, colour), at, place in zip(ordered, wanted, spread(wanted, _LINE_POINTS), strict=True):
        axes.annotate(
            words, (1, height), (6, place - at), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", size=8, color=colour, annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], least: float) -> list[float]:
    """Ascending places moved so little (least squares) that neighbours are `least` apart or more."""
    groups: list[list[float]] = []  # of places less their rank: these need only ascend
    for rank, place in enumerate(places):
        groups.append([place - rank * least])
        while len(groups) > 1 and _mean(groups[-2]) > _mean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    flat = [_mean(group) for group in groups for _ in group]
    return [place + rank * least for rank, place in enumerate(flat)]


def label_points(
    axes: Axes, labels: Sequence[tuple[float, float, str, str]], lines: Iterable[tuple[_Point, _Point]] = ()
) -> None:
    """Write (x, y, words, colour) beside their points, where they cover other points, words or `lines` least.

    Words that must go further off get a thin line to their point. Limits must be final.
    """
    steps = [step / 10 for step in range(1, 10)]
    along = [(a + (c - a) * t, b + (d - b) * t) for (a, b), (c, d) in lines for t in steps]
    taken = [_around(axes, point, 2.0) for point in along]
    taken += [_around(axes, (x, y), 6.0) for x, y, _, _ in labels]
    frame = axes.get_window_extent()
    for x, y, words, colour in labels:
        places = []
        for cost, offset in enumerate(_OFFSETS):
            text = _beside(axes, (x, y), words, colour, offset)
            box = text.get_window_extent()
            text.remove()
            room = (box.x0 - frame.x0, frame.x1 - box.x1, box.y0 - frame.y0, frame.y1 - box.y1)
            places.append((100 * box.count_overlaps(taken) + 1000 * (min(room) < 3) + cost, offset, box))
        _, offset, box = min(places, key=lambda place: place[0])
        taken.append(box)
        _beside(axes, (x, y), words, colour, offset, line=max(map(abs, offset)) > _NEAR)


def save(figure: Figure, out: Path, numbers: msgspec.Struct, inputs: Iterable[Path] = ()) -> Path:
    """Write the picture, and beside it, with suffix `.json`, its numbers; returns the place of these.

    Raises TrainingError: `out` is no .png, or one of the `inputs` would be overwritten; CheckpointError: it cannot be
    written.
    """
    if out.suffix.lower() != ".png":
        raise TrainingError(f"{out} is no .png: a figure is written as PNG, and its numbers beside it as JSON")
    data = out.with_suffix(".json")
    if data.resolve() in {path.resolve() for path in inputs}:
        raise TrainingError(f"{data}, where the figure's numbers would go, is what it is made from: rename {out}")
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_atomically(out, picture.getvalue())
    write_atomically(data, msgspec.json.format(msgspec.json.encode(numbers)) + b"\n")
    return data


_NEAR: Final = 8
_OFFSETS: Final = tuple(
    (across * distance, up * distance)
    for distance in (6, 14, 24, 36)
    for across, up in ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
)


def _beside(
    axes: Axes, point: _Point, words: str, colour: str, offset: tuple[int, int], line: bool = False
) -> Annotation:
    """Words at an offset, in points, from a point; with a line between them."""
    across, up = offset
    return axes.annotate(
        words, point, offset, textcoords="offset points", size=7.5, color=colour, zorder=5,
        ha=("right", "center", "left")[_sign(across) + 1], va=("top", "center", "bottom")[_sign(up) + 1],
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4} if line else None,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _around(axes: Axes, point: _Point, radius: float) -> Bbox:
    """The square around a point of the axes, in pixels."""
    x, y = axes.transData.transform(point).tolist()
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
