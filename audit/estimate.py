"""How long attacks will take: one epoch of each kind is timed, and the rest follows."""

import time
from collections.abc import Iterable
from typing import Final

from .jobs import Cache, Job, Work

_AFTERWARDS: Final = 3
"""Plateaus of `patience` epochs that end learning..."""
_BEFORE: Final = 30
"""...and about so many epochs in which something improves."""


def estimate_s(jobs: Iterable[Work], cache: Cache) -> float:
    """Seconds that attacks will take one after the other, as far as one epoch of each family and task tells.

    Linking takes about as long as two attacks, inverting as one, of those that are timed on average.
    """
    times: dict[tuple[str, str], float] = {}
    attacks, others = [], 0
    for job in jobs:
        if not isinstance(job, Job):
            others += 1
            continue
        kind = job.family, job.exam.task.name
        if kind not in times:
            times[kind] = _seconds(job, cache)
        attacks.append(times[kind])
    return sum(attacks) + 2 * others * sum(times.values()) / max(1, len(times))


def _seconds(job: Job, cache: Cache) -> float:
    attacker, lesson = cache.lesson(job, max_epochs=1)
    started = time.perf_counter()
    attacker.learn(lesson)
    once = time.perf_counter() - started
    return once * (1 if attacker.at_once else _AFTERWARDS * job.settings.patience + _BEFORE)
