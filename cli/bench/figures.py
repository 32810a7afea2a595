"""The figures of a run, as JSON and as a table."""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from rich.table import Table

from .machine import Machine

Unit = Literal["us", "ms", "s", "frames/s", "bodies/s", "frames", "sensors", "MB", "threads", "% of a core", "times"]


class Figure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured quantity; `value` is a median where it was measured several times."""

    part: str
    what: str
    bundle: str | None = None
    value: float
    p95: float | None = None
    p99: float | None = None
    worst: float | None = None
    unit: Unit
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the value keeps within its target; None without one."""
        if self.at_most is None and self.at_least is None:
            return None
        return self.value <= (self.at_most or 0.0) if self.at_least is None else self.value >= self.at_least


class Report(Struct, frozen=True):
    """Everything that `--out` writes."""

    machine: Machine
    quick: bool
    figures: tuple[Figure, ...]


def durations(
    part: str, what: str, rounds: Sequence[tuple[float, float, float]], *, bundle: str | None = None
) -> Figure:
    """A duration in microseconds, from the (p50, p95, p99) of each round: of those the median."""
    p50, p95, p99 = np.median(np.array(rounds), axis=0).tolist()
    return Figure(part=part, what=what, bundle=bundle, value=p50, p95=p95, p99=p99, unit="us")


def to_json(report: Report) -> bytes:
    """Indented, for a file; each figure with a target says whether it is `met`."""
    tree = msgspec.to_builtins(report)
    for about, row in zip(tree["figures"], report.figures, strict=True):
        if row.met is not None:
            about["met"] = row.met
    return msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n"


def to_table(report: Report) -> Table:
    """For people."""
    table = Table(title=report.machine.headline(), title_justify="left", title_style="")
    for name in ("", "measured", "bundle"):
        table.add_column(name)
    for name in ("median", "p95", "p99"):
        table.add_column(name, justify="right")
    for name in ("unit", "target"):
        table.add_column(name)
    part = ""
    for row in report.figures:
        if row.part != part:
            table.add_section()
        shown = row.part if row.part != part else ""
        part = row.part
        worst = f"worst {_number(row.worst)}" if row.worst is not None else _number(row.p99)
        table.add_row(shown, row.what, row.bundle, _number(row.value), _number(row.p95), worst, row.unit, _target(row))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _target(row: Figure) -> str:
    if row.met is None:
        return ""
    bound = f"≤ {_number(row.at_most)}" if row.at_least is None else f"≥ {_number(row.at_least)}"
    return f"[green]{bound} met[/]" if row.met else f"[red]{bound} missed[/]"
