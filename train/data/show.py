"""Draws skeletons: bodies into axes, or a sequence of a data set into a picture or an animation.

Nothing is mirrored: `front` is what the sensor sees, so the left of a person who faces it is on the right; `side` is
seen from the sensor's right, so such a person looks to the left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from skelanon.sensors.joints import BONES, JOINT_NAMES, JOINTS, PARENTS
from skelanon.train.errors import DataError

from .store import UNKNOWN, SkeletonDataset

Floats = NDArray[np.floating]
View = Literal["front", "side"]


@dataclass(frozen=True, slots=True)
class Palette:
    """A colour for each side of the body. The default ones can be told apart by the colour-blind."""

    left: str = "#0072b2"
    right: str = "#d55e00"
    centre: str = "#3b3b3b"

    def of(self, joint: int) -> str:
        """The colour of a joint and of the bone that ends there."""
        name = JOINT_NAMES[joint]
        return self.left if name.endswith("Left") else self.right if name.endswith("Right") else self.centre


PALETTE: Final = Palette()

_TEXT: Final = "#262626"
_QUIET: Final = "#767676"
_FLOOR: Final = "#d9d9d9"
_MARGIN_M: Final = 0.08
_PANEL_INCHES: Final = 2.4  # height
_LEAST_INCHES: Final = 4.6  # width, for title and key
_HEADER_INCHES, _TIMES_INCHES, _KEY_INCHES = 0.62, 0.24, 0.30
_DPI: Final = 150
_ANIMATION_DPI: Final = 100


def draw_skeletons(
    axes: Axes,
    joints: Floats,
    *,
    measured: Sequence[bool] = (True,) * JOINTS,
    view: View = "front",
    palette: Palette = PALETTE,
    scale: float = 1.0,
    alpha: float = 1.0,
) -> None:
    """Draw bodies into axes whose limits stay as they are; `set_limits` fits them.

    joints: (M, 25, 3), metres, camera axes; a joint at the exact origin is not there.
    measured: for each of the 25 joints whether it was measured; the others are hollow dots at the end of thin bones.
    scale: of lines and dots. alpha: 0 to 1, how opaque.
    """
    for body in joints:
        there = body.any(axis=1).tolist()  # (25,)
        flat = _flat(body, view)  # (25, 2)
        seen = [joint for joint in range(JOINTS) if there[joint]]
        bones = [joint for joint in BONES if there[joint] and there[PARENTS[joint]]]
        if not seen:
            continue
        lines = LineCollection(
            [flat[[PARENTS[joint], joint]] for joint in bones],
            colors=[palette.of(joint) for joint in bones],
            linewidths=[scale * (2.2 if measured[joint] else 0.9) for joint in bones],
            capstyle="round",
            alpha=alpha,
            zorder=2,
        )
        axes.add_collection(lines, autolim=False)
        edges = [palette.of(joint) for joint in seen]
        fills = [palette.of(joint) if measured[joint] else "white" for joint in seen]
        sizes = [scale**2 * (10 if measured[joint] else 7) for joint in seen]
        x, y = flat[seen].T
        axes.scatter(x, y, sizes, c=fills, edgecolors=edges, linewidths=0.9 * scale, alpha=alpha, zorder=3)


def set_limits(axes: Axes, joints: Floats, view: View = "front") -> None:
    """Fit axes to all bodies of (..., 25, 3), metres, camera axes: equal scale, no frame, a line for the floor."""
    low, high = _extent(joints, view)
    _set_window(axes, (low[0], high[0]), (low[1], high[1]))


def show_sequence(
    dataset: SkeletonDataset, index: int, out: Path, *, panels: int = 8, views: Sequence[View] = ("front",)
) -> None:
    """Draw sequence `index`: `.png`, a row of evenly spaced frames for each view; `.gif`, all frames at the set's rate.

    In a picture each panel is centred on the bodies; in an animation they move, at the nearest rate that a GIF has (it
    counts in hundredths of a second). Raises DataError: no such sequence, another suffix, no panel, a file that cannot
    be written.
    """
    if not 0 <= index < len(dataset):
        raise DataError(f"{dataset.folder} has no sequence {index}: it has {len(dataset)}, numbered from 0 on")
    if panels < 1:
        raise DataError(f"`panels` is {panels}, there must be at least one")
    suffix = out.suffix.lower()
    if suffix not in (".png", ".gif"):
        raise DataError(f"{out} is neither a .png nor a .gif: name one of these")
    try:
        if suffix == ".png":
            _draw_picture(dataset, index, out, panels, views)
        else:
            _draw_animation(dataset, index, out, views)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from error


def _draw_picture(dataset: SkeletonDataset, index: int, out: Path, panels: int, views: Sequence[View]) -> None:
    joints = dataset[index].joints  # (T, M, 25, 3)
    frames = np.unique(np.linspace(0, len(joints) - 1, panels).round().astype(int))
    chosen = [_centred(joints[frame]) for frame in frames]
    extents = [_extent(np.stack(chosen), view) for view in views]
    figure, grid = _figure(extents, len(frames), f"{dataset.info.kind}, sequence {index}", _labels(dataset, index))
    for column, frame in enumerate(frames):
        for axes, view in zip(grid[:, column], views, strict=True):
            draw_skeletons(axes, chosen[column], measured=dataset.info.measured, view=view)
        last = grid[-1, column]
        seconds = f"{frame / dataset.info.rate_hz:.2f} s"
        last.text(0.5, -0.03, seconds, transform=last.transAxes, ha="center", va="top", color=_QUIET, size=8)
    _add_key(figure, dataset)
    figure.savefig(out, dpi=_DPI)


def _draw_animation(dataset: SkeletonDataset, index: int, out: Path, views: Sequence[View]) -> None:
    joints = dataset[index].joints  # (T, M, 25, 3)
    extents = [_extent(joints, view) for view in views]
    title = f"{dataset.info.kind}, sequence {index}"
    figure, grid = _figure(extents, 1, title, _labels(dataset, index))
    _add_key(figure, dataset)
    writer = PillowWriter(fps=round(dataset.info.rate_hz))
    with writer.saving(figure, out, _ANIMATION_DPI):
        for bodies in joints:
            before = [set(axes.get_children()) for axes in grid[:, 0]]
            for axes, view in zip(grid[:, 0], views, strict=True):
                draw_skeletons(axes, bodies, measured=dataset.info.measured, view=view)
            writer.grab_frame()
            for axes, kept in zip(grid[:, 0], before, strict=True):
                for artist in set(axes.get_children()) - kept:
                    artist.remove()


def _flat(joints: Floats, view: View) -> Floats:
    """(..., 2), right and up in the picture, of (..., 3)."""
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack((-x if view == "front" else z, y), axis=-1)


def _centred(bodies: Floats) -> Floats:
    """Bodies (M, 25, 3) moved over the floor to where their joints' mean is straight ahead; what is absent stays so."""
    there = bodies.any(axis=2, keepdims=True)  # (M, 25, 1)
    mean = bodies.sum(axis=(0, 1)) / max(there.sum(), 1)
    return np.where(there, bodies - mean * (1.0, 0.0, 1.0), 0.0)


def _extent(joints: Floats, view: View) -> tuple[Floats, Floats]:
    """Lower left and upper right corner, (2,) each, around all joints that are there."""
    flat = _flat(joints, view)[joints.any(axis=-1)]  # (n, 2)
    if not len(flat):
        return np.full(2, -1.0), np.full(2, 1.0)
    return flat.min(axis=0) - _MARGIN_M, flat.max(axis=0) + _MARGIN_M


def _set_window(axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    axes.set(xlim=across, ylim=up, aspect="equal")
    axes.axis("off")
    axes.axhline(up[0] + _MARGIN_M, color=_FLOOR, linewidth=0.8, zorder=1)


def _figure(
    extents: Sequence[tuple[Floats, Floats]], columns: int, title: str, subtitle: str
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes, (views, columns), a row for each extent: all at one scale, and room for title and key."""
    rows = len(extents)
    width_m = max(high[0] - low[0] for low, high in extents)
    low_m, high_m = extents[0][0][1], extents[0][1][1]
    panel = _PANEL_INCHES * width_m / (high_m - low_m)
    width = max(columns * panel + 0.3, _LEAST_INCHES)
    height = _HEADER_INCHES + rows * _PANEL_INCHES + _TIMES_INCHES + _KEY_INCHES
    figure = Figure((width, height), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": 0.15 / width, "right": 1 - 0.15 / width, "wspace": 0.0, "hspace": 0.0,
            "bottom": (_KEY_INCHES + _TIMES_INCHES) / height, "top": 1 - _HEADER_INCHES / height,
        },
    )  # fmt: skip
    for row, (low, high) in zip(grid, extents, strict=True):
        middle = (low[0] + high[0]) / 2
        for axes in row:
            _set_window(axes, (middle - width_m / 2, middle + width_m / 2), (low_m, high_m))
    figure.text(0.15 / width, 1 - 0.12 / height, title, va="top", size=11, weight="bold", color=_TEXT)
    figure.text(0.15 / width, 1 - 0.36 / height, subtitle, va="top", size=9, color=_QUIET)
    return figure, grid


def _labels(dataset: SkeletonDataset, index: int) -> str:
    """The sequence's labels in words, without those that are unknown."""
    words = []
    for column, values in dataset.labels.items():
        value = values[index].item()
        if value == UNKNOWN or value != value:
            continue
        name = dataset.info.names.get(column, {}).get(value)
        words.append(f"{column} {value:g}" + (f": {name}" if name else ""))
    return ", ".join(words)


def _add_key(figure: Figure, dataset: SkeletonDataset) -> None:
    """What colours and dots mean."""
    colours = {"left": PALETTE.left, "right": PALETTE.right, "centre": PALETTE.centre}
    handles = [Line2D([], [], color=colour, linewidth=2.2, label=side) for side, colour in colours.items()]
    if not all(dataset.info.measured):
        filled = Line2D([], [], color=_QUIET, linewidth=0.9, label="filled in, not measured")
        filled.set(marker="o", markerfacecolor="white", markersize=4)
        handles.append(filled)
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8, labelcolor=_QUIET,
        borderaxespad=0.3, handlelength=1.6,
    )  # fmt: skip
