"""How long attacks will take: one epoch of each kind is timed on some clips, and the rest follows."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from .attackers.attacker import Attacker, Lesson
from .attackers.learning import clips_in_an_epoch
from .jobs import Cache, Job, Work

_AFTERWARDS: Final = 3
"""Plateaus of `patience` epochs that end learning..."""
_BEFORE: Final = 30
"""...and about so many epochs in which something improves."""
_NETWORK: Final = "tcn"
_CLIPS: Final = 8
"""Clips that are timed."""


def estimate_s(waiting: Sequence[Work], everything: Sequence[Work], cache: Cache) -> float:
    """Seconds that what waits will take, one after the other, each on one core, as far as a part of an epoch tells.

    Linking and inverting take about as long as two attacks by a network on clips, of which one among `everything` is
    timed.
    """
    times: dict[tuple[str, str], float] = {}

    def seconds(job: Job) -> float:
        kind = job.family, job.exam.task.name
        if kind not in times:
            times[kind] = _seconds(job, cache)
        return times[kind]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        attacks = [job for job in waiting if isinstance(job, Job)]
        others = sum(not isinstance(job, Job) for job in waiting)
        network = next((job for job in everything if isinstance(job, Job) and job.family == _NETWORK), None)
        return sum(map(seconds, attacks)) + (2 * others * seconds(network) if network and others else 0.0)
    finally:
        torch.set_num_threads(threads)


def _seconds(job: Job, cache: Cache) -> float:
    attacker, lesson = cache.lesson(job, max_epochs=1)
    if attacker.at_once:
        return _learning_s(attacker, lesson)
    _warm_up()
    some, size = _part(lesson), job.settings.batch_size
    clips = [clips_in_an_epoch(len(each.train_targets) // each.draws, size) for each in (some, lesson)]
    epochs = _AFTERWARDS * job.settings.patience + _BEFORE
    return _learning_s(attacker, some) * clips[1] / clips[0] * epochs


@functools.cache
def _warm_up() -> None:
    """The first step of a process loads much."""
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.Adam([weight]).step()


def _learning_s(attacker: Attacker, lesson: Lesson) -> float:
    started = time.perf_counter()
    attacker.learn(lesson)
    return time.perf_counter() - started


def _part(lesson: Lesson) -> Lesson:
    """Some clips of the first draw, from all over it, and as large a share of those for validation."""
    clips = len(lesson.train_targets) // lesson.draws
    some = np.arange(0, clips, max(1, clips // _CLIPS))
    held = np.arange(0, len(lesson.validation_targets), max(1, clips // _CLIPS))
    return dataclasses.replace(
        lesson,
        train=lesson.train[some],
        train_targets=lesson.train_targets[some],
        validation=lesson.validation[held],
        validation_targets=lesson.validation_targets[held],
        draws=1,
    )
