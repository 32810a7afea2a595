"""How long each stage of the way through the node takes."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec import Struct

STAGES: Final = ("wait", "infer", "guard", "send", "total")
"""wait: hand-over to pick-up; infer: batch and model; guard: checks and sealing; send: encoding and socket."""

BOUNDS_US: Final = (50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Upper bounds of a histogram's buckets, microseconds, inclusive; one more bucket holds what is longer."""

_BOUNDS_NS: Final = np.array(BOUNDS_US, np.int64) * 1000
_KEPT: Final = 1024
_AT_ONCE: Final = 4096
"""Durations that may wait to be counted."""


class Percentiles(Struct, frozen=True):
    """Of the newest 1,024 values, microseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """All durations of one stage. counts: of each bucket, not cumulative; sum_ns: of all durations, nanoseconds."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_US) + 1)
    sum_ns: int = 0


class Latencies:
    """The durations of each stage: the newest for percentiles, all of them for histograms.

    One thread adds and asks for percentiles. Any thread may read `histograms`, whose values never change but are
    replaced, whenever percentiles are asked for.
    """

    def __init__(self) -> None:
        self._fresh: dict[str, list[int]] = {stage: [] for stage in STAGES}  # counted later: a frame only appends
        self._newest: dict[str, deque[int]] = {stage: deque(maxlen=_KEPT) for stage in STAGES}
        self.histograms = {stage: Histogram() for stage in STAGES}

    def add(self, stage: str, duration_ns: int) -> None:
        """Take one duration, nanoseconds."""
        fresh = self._fresh[stage]
        fresh.append(duration_ns)
        if len(fresh) >= _AT_ONCE:
            self._count(stage)

    def percentiles(self) -> dict[str, Percentiles]:
        """Of each stage that has values."""
        for stage in STAGES:
            self._count(stage)
        return {stage: percentiles(values) for stage, values in self._newest.items() if values}

    def _count(self, stage: str) -> None:
        fresh = self._fresh[stage]
        if not fresh:
            return
        durations, before = np.array(fresh, np.int64), self.histograms[stage]
        more = np.bincount(np.searchsorted(_BOUNDS_NS, durations), minlength=len(before.counts)).tolist()
        counts = tuple(one + other for one, other in zip(before.counts, more, strict=True))
        self.histograms[stage] = Histogram(counts, before.sum_ns + int(durations.sum()))
        self._newest[stage].extend(fresh)
        fresh.clear()


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
    # As np.percentile does, which imports a package when it is first called: a node that has no descriptor left fails.
    ordered = np.sort(np.fromiter(durations_ns, np.int64))
    p50, p95, p99 = (np.interp([0.5, 0.95, 0.99], np.linspace(0, 1, len(ordered)), ordered) / 1e3).round(1).tolist()
    return Percentiles(p50, p95, p99)
