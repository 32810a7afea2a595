"""What a frame may carry, against what attackers and recognizers tell: a panel for each task of an audit."""

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from matplotlib.axes import Axes

from skelanon.train.figures.page import BLUE, QUIET, TEXT, VERMILION, label_ends, name_axes, page, panel, save

from .errors import AuditError
from .report.words import short_names
from .results import RAW, Audit, Floor, TaskRecord
from .statistics import Interval

_CAUTION: Final = (
    "The strongest of attackers that learned from the release itself; bars: 95 %, persons drawn anew; line: means.\n"
    "Bits bound what one frame carries, not what a clip does."
)
_WIDE, _APART, _HIGH = 2.3, 1.55, 2.7  # inches: a panel, the room for words right of it, its height


class BitsPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one release."""

    release: str
    bits_per_frame: float | None
    """None where nothing bounds it."""
    task: str
    told: float
    interval: Interval


class BitsFigure(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the figure."""

    caution: str = _CAUTION
    data: str
    """Fingerprint of the data set."""
    prior: dict[str, float]
    """What guessing gets, by task."""
    floors: tuple[Floor, ...]
    """What is told without any skeleton."""
    points: tuple[BitsPoint, ...]


def draw_bits(audit: Audit, source: Path, out: Path) -> BitsFigure:
    """Draw all releases of an audit that was read from `source`: those with bits as points, others as lines.

    Raises AuditError: it failed, or no release says how many bits a frame carries; see `page.save` for others.
    """
    if audit.failed:
        raise AuditError(f"{source}: the audit failed and says nothing: {audit.failed[0]}")
    if not audit.bits_per_frame:
        raise AuditError(f"{source}: no release says how many bits a frame carries; motion tokens do")
    points = tuple(
        BitsPoint(
            release=one.release,
            bits_per_frame=audit.bits_per_frame.get(one.release),
            task=one.task,
            told=one.score,
            interval=one.interval,
        )
        for one in audit.findings
    )
    numbers = BitsFigure(
        data=audit.fingerprint,
        prior={record.name: record.prior for record in audit.tasks},
        floors=audit.floors,
        points=points,
    )
    width = 0.6 + len(audit.tasks) * (_WIDE + _APART)
    figure = page(width, 4.6, "What a frame may carry, and what is told", _subtitle(audit), _CAUTION)
    for number, record in enumerate(audit.tasks):
        axes = panel(figure, 0.6 + number * (_WIDE + _APART), 1.0, _WIDE, _HIGH)
        _draw(axes, record, audit)
    save(figure, out, numbers, [source])
    return numbers


def _subtitle(audit: Audit) -> str:
    return f"{audit.data}, {audit.sequences} sequences, seeds {', '.join(map(str, audit.seeds))}"


def _draw(axes: Axes, record: TaskRecord, audit: Audit) -> None:
    bits = audit.bits_per_frame
    findings = [one for one in audit.findings if one.task == record.name]
    colour = VERMILION if record.use == "private" else BLUE
    bounded = sorted((one for one in findings if one.release in bits), key=lambda one: bits[one.release])
    across, up = [bits[one.release] for one in bounded], [one.score for one in bounded]
    below = [max(0.0, one.score - one.interval.low) for one in bounded]
    above = [max(0.0, one.interval.high - one.score) for one in bounded]
    axes.set_xscale("log", base=2)
    axes.set(xlim=(min(across) / 1.4, max(across) * 1.4), ylim=(0, 1.03))
    steps = sorted(set(across))
    means = [float(np.mean([one for one, at in zip(up, across, strict=True) if at == step])) for step in steps]
    axes.set_xticks(steps, [f"{one:.3g}" for one in steps])
    axes.minorticks_off()
    axes.plot(steps, means, color=colour, linewidth=1.2)
    axes.errorbar(across, up, [below, above], color=colour, fmt="o", markersize=4, linewidth=0.8, capsize=2)
    name_axes(axes, "bits per frame", record.name)
    others = [one for one in findings if one.release not in bits]
    names = short_names(one.release for one in others)
    for one in others:
        axes.axhline(one.score, color=QUIET, linewidth=0.8)
    quiet = [(record.prior, "guessing")] if record.classes else []
    quiet += [
        (one.score, f"{one.label}, frames") for one in audit.floors if (one.release, one.task) == (RAW, record.name)
    ]
    for at, _ in quiet:
        axes.axhline(at, color=QUIET, linewidth=0.8, linestyle=":")
    label_ends(
        axes,
        [*((one.score, names[one.release], TEXT) for one in others), *((at, words, QUIET) for at, words in quiet)],
    )
