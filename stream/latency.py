"""How long each stage of the way through the node takes."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from msgspec import Struct

STAGES: Final = ("wait", "infer", "guard", "send", "total")
"""wait: hand-over to pick-up; infer: batch and model; guard: checks and sealing; send: encoding and socket."""

_KEPT: Final = 1024


class Percentiles(Struct, frozen=True):
    """Of the newest 1,024 values, microseconds."""

    p50: float
    p95: float
    p99: float


class Latencies:
    """The newest durations of each stage."""

    def __init__(self) -> None:
        self._values: dict[str, deque[int]] = {stage: deque(maxlen=_KEPT) for stage in STAGES}

    def add(self, stage: str, duration_ns: int) -> None:
        """Count one duration, nanoseconds."""
        self._values[stage].append(duration_ns)

    def percentiles(self) -> dict[str, Percentiles]:
        """Of each stage that has values."""
        return {stage: percentiles(values) for stage, values in self._values.items() if values}


class Stopwatch:
    """Adds the time since the last lap to a stage."""

    def __init__(self, latencies: Latencies, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._latencies = latencies
        self._clock_ns = clock_ns
        self.started_ns = self._last = clock_ns()

    def lap(self, stage: str) -> int:
        """End a stage; returns the time now, nanoseconds."""
        now = self._clock_ns()
        self._latencies.add(stage, now - self._last)
        self._last = now
        return now


def percentiles(durations_ns: Iterable[int]) -> Percentiles:
    """Percentiles of durations in nanoseconds, as microseconds."""
    p50, p95, p99 = (np.percentile(np.fromiter(durations_ns, np.int64), [50, 95, 99]) / 1e3).round(1).tolist()
    return Percentiles(p50, p95, p99)
