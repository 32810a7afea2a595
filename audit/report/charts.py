"""Where everything in the report's pictures goes; the template draws them. Lengths in units of the picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from skelanon.audit.results import RAW, Audit, Finding, TaskRecord
from skelanon.audit.statistics import Interval

from .words import last_raw, measure, percent, short_names, span

WIDTH: Final = 420.0
HEIGHT: Final = 350.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 12.0, 44.0
LETTER, LINE = 7.4, 15.0
"""Wide and high a letter of a label is, at most on average."""
SHAPES: Final = ("circle", "triangle", "diamond", "square", "down", "plus")
COLOURS: Final = 4
MAP_SIZE: Final = 200.0
_COUNTED: Final = 10
"""Classes up to which a cell of a confusion shows its number."""
_NAMED: Final = 12


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: left, top, right, bottom."""

    x0: float
    y0: float
    x1: float
    y1: float

    def shared(self, other: "Box") -> float:
        """Area that two have in common."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, wide) * max(0.0, high)


@dataclass(frozen=True, slots=True)
class Axis:
    """From scores to one side of the picture."""

    low: float
    start: float
    end: float
    record: TaskRecord

    def at(self, score: float) -> float:
        """Where a score is drawn; what lies outside is drawn at the border."""
        inside = min(1.0, max(self.low, score))
        return self.start + (inside - self.low) / (1 - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and words."""
        step = 2 if 1 - self.low > 0.5 else 1
        tenths = [tenth for tenth in range(-10, 11) if tenth % step == 0 and tenth / 10 >= self.low - 1e-9]
        return [(self.at(tenth / 10), measure(self.record, tenth / 10)) for tenth in tenths]


@dataclass(frozen=True, slots=True)
class Point:
    """A release in the trade-off."""

    name: str
    title: str
    shape: str
    colour: str
    x: float
    y: float
    across: tuple[float, float]
    """Ends of the interval of utility."""
    along: tuple[float, float]
    """Ends of the interval of privacy."""
    label: Box
    leader: tuple[float, float] | None
    """Where a line from the point to its label ends; none beside the point."""


@dataclass(frozen=True, slots=True)
class TradeOff:
    """What is told of a private label against what is told of a useful one."""

    private: TaskRecord
    utility: TaskRecord
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    prior: float
    prior_band: tuple[float, float]
    """Bottom and top of the interval of what guessing gets."""
    prior_label_y: float


def trade_offs(audit: Audit) -> list[TradeOff]:
    """One for each pair of a private and a utility task; none where the audit failed."""
    found = {(one.release, one.task): one for one in audit.findings}
    uses = {use: [record for record in audit.tasks if record.use == use] for use in ("private", "utility")}
    charts = []
    for private in uses["private"] if not audit.failed else ():
        for utility in uses["utility"]:
            pairs = [
                (name, found[name, utility.name], found[name, private.name])
                for name in last_raw(audit)
                if (name, utility.name) in found and (name, private.name) in found
            ]
            if pairs:
                charts.append(_trade_off(private, utility, pairs))
    return charts


def _trade_off(private: TaskRecord, utility: TaskRecord, pairs: Sequence[tuple[str, Finding, Finding]]) -> TradeOff:
    useful = min(min(one.interval.low, one.score) for _, one, _ in pairs)
    told = min(0.0, *(min(one.interval.low, one.score) for _, _, one in pairs))
    x = Axis(_low(min(useful, 0.7)), LEFT, WIDTH - RIGHT, utility)
    y = Axis(_low(told), HEIGHT - BOTTOM, TOP, private)
    prior = y.at(private.prior)
    words = prior + (16 if prior < HEIGHT - BOTTOM - 20 else -6)
    short = short_names(name for name, _, _ in pairs)
    names = [short[name] for name, _, _ in pairs]
    places = [(x.at(one.score), y.at(other.score)) for _, one, other in pairs]
    across = [_ends(x, one.interval) for _, one, _ in pairs]
    along = [_ends(y, other.interval) for _, _, other in pairs]
    labels = place_labels(names, places, across, along, Box(LEFT, words - 12, LEFT + 60, words + 3))
    points = tuple(
        Point(
            name=names[number],
            title=f"{name}: {_in_words(private, other)}, {_in_words(utility, one)}",
            shape="ring" if name == RAW else SHAPES[number % len(SHAPES)],
            colour="raw" if name == RAW else f"c{number % COLOURS}",
            x=places[number][0],
            y=places[number][1],
            across=across[number],
            along=along[number],
            label=labels[number],
            leader=_leader(places[number], labels[number]),
        )
        for number, (name, one, other) in enumerate(pairs)
    )
    return TradeOff(private, utility, x, y, points, prior, _ends(y, private.prior_interval), words)


def _in_words(record: TaskRecord, finding: Finding) -> str:
    return f"{record.name} {measure(record, finding.score)} ({span(record, finding.interval)})"


def place_labels(
    names: Sequence[str],
    places: Sequence[tuple[float, float]],
    across: Sequence[tuple[float, float]],
    along: Sequence[tuple[float, float]],
    taken: Box,
) -> list[Box]:
    """Boxes for labels near their points, which avoid each other first, then points, then intervals."""
    marks = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    bars = [Box(low, y - 2, high, y + 2) for (low, high), (_, y) in zip(across, places, strict=True)]
    bars += [Box(x - 2, high, x + 2, low) for (low, high), (x, _) in zip(along, places, strict=True)]
    labels: dict[int, Box] = {}
    for number in sorted(range(len(names)), key=lambda one: places[one][1]):
        best = min(
            _candidates(places[number], len(names[number]) * LETTER),
            key=lambda one: (
                100 * sum(one[0].shared(other) for other in (*labels.values(), taken))
                + 10 * sum(one[0].shared(mark) for mark in marks)
                + 2 * sum(one[0].shared(bar) for bar in bars)
                + one[1]
            ),
        )
        labels[number] = best[0]
    return [labels[number] for number in range(len(names))]


def _candidates(place: tuple[float, float], width: float) -> Iterator[tuple[Box, float]]:
    """Boxes inside the picture around a point, each with its distance."""
    x, y = place
    for away in (9.0, 16.0, 26.0, 40.0, 56.0, 74.0, 95.0, 120.0):
        for side, rise in ((1, 0), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1), (0, 1)):
            left = x + side * away - (width if side < 0 else 0 if side else width / 2)
            top = y + rise * away - LINE / 2 - (rise * LINE / 2)
            fits = left >= LEFT + 2 and left + width <= WIDTH - 1
            if fits and top >= TOP - 4 and top + LINE <= HEIGHT - BOTTOM - 1:
                yield Box(left, top, left + width, top + LINE), away
    left = min(max(x, LEFT + 2), max(LEFT + 2, WIDTH - 1 - width))
    yield Box(left, TOP, left + width, TOP + LINE), 200.0


def _leader(place: tuple[float, float], label: Box) -> tuple[float, float] | None:
    x, y = place
    end = (min(max(x, label.x0), label.x1), min(max(y, label.y0), label.y1))
    return end if (end[0] - x) ** 2 + (end[1] - y) ** 2 > 18**2 else None


def _low(value: float) -> float:
    """The tenth below, not under -1."""
    return max(-1.0, (value * 10 // 1) / 10)


def _ends(axis: Axis, interval: Interval) -> tuple[float, float]:
    return axis.at(interval.low), axis.at(interval.high)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a confusion: its place, the share of its row from 0 to 1, and its number."""

    x: float
    y: float
    share: float
    number: str
    title: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Who is taken for whom in a release."""

    release: str
    side: float
    """Of a cell."""
    cells: tuple[Cell, ...]
    names: tuple[tuple[float, str], ...]
    """Middles of rows and columns, and what they stand for."""


def heat_maps(record: TaskRecord, findings: Sequence[Finding]) -> list[HeatMap]:
    """The confusions of a task, those of raw skeletons at the end."""
    of_task = [one for one in findings if one.task == record.name and one.confusion]
    return [_heat_map(record, one) for one in sorted(of_task, key=lambda one: one.release == RAW)]


def _heat_map(record: TaskRecord, finding: Finding) -> HeatMap:
    size = len(finding.confusion)
    side = MAP_SIZE / size
    cells = []
    for i, row in enumerate(finding.confusion):
        for j, number in enumerate(row):
            if number:
                share = number / sum(row)
                title = f"{record.classes[i]} taken for {record.classes[j]}: {number} ({percent(share)})"
                text = str(number) if size <= _COUNTED else ""
                cells.append(Cell(j * side, i * side, share, text, title))
    middles = range(size) if size <= _NAMED else (0, size - 1)
    names = tuple(((i + 0.5) * side, str(record.classes[i])) for i in middles)
    return HeatMap(finding.release, side, tuple(cells), names)
