"""Numbers and names as the report says them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from skelanon.audit.results import RAW, Audit, TaskRecord
from skelanon.audit.statistics import Interval

FAMILIES: Final[Mapping[str, str]] = {
    "proportions": "body proportions alone, gradient boosting",
    "statistics": "how posture and motion are spread over a sequence, a forest",
    "frame": "single frames, which vote",
    "window": "short windows, which vote",
    "tcn": "whole sequences, temporal CNN",
    "st_gcn": "whole sequences, ST-GCN",
    "ctr_gcn": "whole sequences, CTR-GCN",
    "sgn": "whole sequences, SGN",
    "shift_gcn": "whole sequences, Shift-GCN",
    "agcn": "whole sequences, 2s-AGCN",
    "ms_g3d": "whole sequences, MS-G3D",
}
"""What an attacker sees, and what it is."""

_SPACE: Final = "\u00a0"
_MOST: Final = 12


def family_words(family: str) -> str:
    """An attacker in words."""
    return FAMILIES.get(family, family)


def percent(share: float) -> str:
    """`61 %`; a digit more where all or nothing would be said too soon."""
    if not math.isfinite(share):
        return "–"
    if 0 < share < 0.01 or 0.99 < share < 1:
        text = "<0.1" if share < 0.0005 else ">99.9" if share >= 0.9995 else f"{100 * share:.1f}"
    else:
        text = f"{math.floor(round(100 * share, 6) + 0.5)}".replace("-", "−")
    return f"{text}{_SPACE}%"


def measure(record: TaskRecord, score: float) -> str:
    """A task's score: per cent, or R2."""
    if record.classes:
        return percent(score)
    return f"{score:.2f}".replace("-", "−") if math.isfinite(score) else "–"


def span(record: TaskRecord, interval: Interval) -> str:
    """`55 to 67 %`."""
    low, high = measure(record, interval.low), measure(record, interval.high)
    return f"{low.removesuffix(f'{_SPACE}%')} to {high}"


def share_span(interval: Interval) -> str:
    """`55 to 67 %`, of shares."""
    return f"{percent(interval.low).removesuffix(f'{_SPACE}%')} to {percent(interval.high)}"


def millimetres(metres: float) -> str:
    """Metres as millimetres."""
    return f"{1000 * metres:.1f}" if math.isfinite(metres) else "–"


def count(number: int, what: str) -> str:
    """`1 person`, `8 persons`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}".replace(",", "\u202f")


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def of_persons(audit: Audit, record: TaskRecord) -> bool:
    """Whether what a task tells is who the person is."""
    return record.label == audit.settings.get("person", "subject")


def last_raw(audit: Audit) -> list[str]:
    """Names of the releases, raw at the end."""
    return sorted(audit.releases, key=lambda name: name == RAW)


def split_words(settings: Mapping[str, Any], task: str) -> str:
    """How the sequences of a task were divided; nothing where the settings do not say."""
    for one in settings.get("tasks", ()):
        if one.get("name") == task and isinstance(one.get("split"), dict):
            return _split(one["split"])
    return ""


def _split(split: Mapping[str, Any]) -> str:
    by, modulo, train = split.get("by"), split.get("modulo"), split.get("train")
    rest = "all others" if train is None else _values(train)
    remainder = f" modulo {modulo}" if modulo else ""
    return f"by {by}{remainder}: tried on {_values(split.get('test', ()))}, learned from {rest}"


def _values(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:_MOST]) + (f" and {len(texts) - _MOST} more" if len(texts) > _MOST else "")


def short_names(names: Iterable[str], longest: int = 24) -> dict[str, str]:
    """Names short enough for a chart: the last parts of a path that tell it from the others."""
    every = list(names)
    return {name: _clipped(_tail(name, every), longest) for name in every}


def _tail(name: str, every: list[str]) -> str:
    parts = name.replace("\\", "/").split("/")
    for used in range(1, len(parts)):
        tail = "/".join(parts[-used:])
        if sum(other.replace("\\", "/").endswith(tail) for other in every) == 1:
            return tail
    return name


def _clipped(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    head = longest // 2 - 1
    return f"{name[:head]}…{name[-(longest - head - 1) :]}"
