"""What a frame may carry, against what attackers and recognizers tell: a panel for each task of an audit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from matplotlib.axes import Axes
from msgspec.structs import replace

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


def draw_bits(audits: Mapping[Path, Audit], out: Path) -> BitsFigure:
    """Draw all releases of audits, each by the file it was read from: those with bits as points, others as lines.

    Several audits are of the same set, by the same attackers. Raises AuditError: they are not, one failed, or no
    release says how many bits a frame carries; see `page.save` for others.
    """
    audit = _side_by_side(audits)
    if not audit.bits_per_frame:
        raise AuditError(
            f"{', '.join(map(str, audits))}: no release says how many bits a frame carries; motion tokens do"
        )
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
    save(figure, out, numbers, audits)
    return numbers


def _side_by_side(audits: Mapping[Path, Audit]) -> Audit:
    """As if all releases had been audited at once; of those in several audits, what the first found counts."""
    for source, audit in audits.items():
        if audit.failed:
            raise AuditError(f"{source}: the audit failed and says nothing: {audit.failed[0]}")
    (first_source, together), *others = audits.items()
    for source, audit in others:
        if _setting(audit) != _setting(together):
            raise AuditError(f"{source} is of another set, or by other attackers, than {first_source}")
        for name, release in audit.releases.items():
            if together.releases.get(name, release) != release:
                raise AuditError(f"{source}: {name} is another release in {first_source}")
        new = audit.releases.keys() - together.releases.keys()
        together = replace(
            together,
            releases=together.releases | audit.releases,
            findings=(*together.findings, *(one for one in audit.findings if one.release in new)),
            bits_per_frame=together.bits_per_frame | audit.bits_per_frame,
        )
    return together


def _setting(audit: Audit) -> tuple[object, ...]:
    """What has to be equal where findings are compared; paths, linkage and inversion do not."""
    settings = {name: one for name, one in audit.settings.items() if name not in ("data", "linkage", "inversion")}
    return audit.fingerprint, audit.tasks, settings


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
