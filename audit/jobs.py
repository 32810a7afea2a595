"""Attacks as jobs: each learns once and is tried on several releases; what is finished is kept, by content.

    CACHE/published/<release>.npz       what was published
    CACHE/scores/<job>-<release>.npz    what an attacker tells of one release, and how its learning went
    CACHE/weights/<job>.pt              what a network has learned
    CACHE/findings/<job>.json           what was found by linking and inverting

A job's name is a hash of everything that it depends on, so that a changed setting, release or set is another job.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np
import torch

from skelanon.configs.auditing import AttackerSettings
from skelanon.train.worker_pool import interrupts_later, worker_pool

from .attackers import Attacker, Course, Lesson, Scores, create_attacker
from .attackers.learning import NetworkAttacker
from .channels import channel_features
from .errors import AuditError
from .exam import Exam
from .published import Published
from .view import View, together, view

_VERSION: Final = 4
"""Of everything that turns a job into scores: a change of an attacker or of the view is a new number."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attacker: of which family, with which seed, learning which exam from which release, tried on which."""

    family: str
    """Of attackers, or the name of a side channel."""
    seed: int
    exam: Exam
    learn_on: tuple[str, ...]
    """Key of a release; of one that is drawn at random, of as many draws."""
    try_on: tuple[str, ...]
    """Keys of releases of the same sequences."""
    frames: int
    settings: AttackerSettings

    @property
    def name(self) -> str:
        """Hash of what decides what the attacker learns."""
        exam = self.exam
        sees = "moving" if self.moving else exam.task.use
        how = self.settings.model_dump(exclude={"families", "seeds", "sufficient", "device"})
        digest = hashlib.sha256(
            msgspec.json.encode([_VERSION, self.family, self.seed, self.learn_on, self.frames, how, exam.classes, sees])
        )
        for array in (exam.learn, exam.validate, exam.targets):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:32]

    @property
    def moving(self) -> bool:
        """Whether it looks only where something moves: recognizers do, attackers look at everything."""
        return self.exam.task.use == "utility"

    def finished(self, cache: "Cache") -> bool:
        """Whether nothing is left to do."""
        return all(cache.scores_file(self, key).exists() for key in self.try_on)

    def run(self, cache: "Cache") -> None:
        """Do what is left."""
        waiting = [key for key in self.try_on if not cache.scores_file(self, key).exists()]
        if not waiting:
            return
        attacker, course = cache.learned(self)
        for key in waiting:
            scores = attacker.tell(cache.view(key, self.frames, self.moving)[self.exam.test])
            with whole(cache.scores_file(self, key)) as partial:
                np.savez(partial, scores=scores, course=np.frombuffer(msgspec.json.encode(course), np.uint8))


@dataclass(frozen=True, slots=True)
class Told:
    """What an attacker tells of the sequences tried, and how its learning went."""

    scores: Scores
    course: Course


class Cache:
    """Finished work in a folder. Files are there as a whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("published", "scores", "weights", "findings"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def publish(self, key: str, release: Callable[[], Published]) -> None:
        """Keep a release for the processes that attack it; it is made now if it is not there yet."""
        file = self._published_file(key)
        if not file.exists():
            with whole(file) as partial:
                release().save(partial)

    def published(self, key: str) -> Published:
        """A release that is kept."""
        return Published.load(self._published_file(key))

    def _published_file(self, key: str) -> Path:
        return self.folder / "published" / f"{key}.npz"

    def told(self, job: Job, key: str) -> Told | None:
        """Scores of a finished job, if it is."""
        file = self.scores_file(job, key)
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                course = msgspec.json.decode(stored["course"].tobytes(), type=Course)
                return Told(stored["scores"], course)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.DecodeError) as error:
            raise AuditError(
                f"{file} is damaged ({type(error).__name__}): remove it, and run the audit again"
            ) from None

    def lesson(self, job: Job, **changes: int) -> tuple[Attacker, Lesson]:
        """A new attacker, with settings changed, and what it is to learn."""
        exam, draws = job.exam, [self.view(key, job.frames, job.moving) for key in job.learn_on]
        lesson = Lesson(
            together([draw[exam.learn] for draw in draws]),
            np.tile(exam.targets[exam.learn], len(draws)),
            draws[0][exam.validate],
            exam.targets[exam.validate],
            len(exam.classes),
            len(draws),
            pauses=exam.task.use == "utility",
        )
        return create_attacker(job.family, job.frames, job.settings.model_copy(update=changes), job.seed), lesson

    def learned(self, job: Job) -> tuple[Attacker, Course]:
        """The attacker of a job when it has learned, or as it was kept."""
        file = self.folder / "weights" / f"{job.name}.pt"
        attacker, lesson = self.lesson(job)
        if not isinstance(attacker, NetworkAttacker):
            return attacker, attacker.learn(lesson)
        if file.exists():
            stored = torch.load(file, weights_only=True)
            attacker.restore(stored, lesson.classes)
            return attacker, Course(**stored["course"])
        course = attacker.learn(lesson)
        with whole(file) as partial:
            torch.save({**attacker.state(), "course": msgspec.structs.asdict(course)}, partial)
        return attacker, course

    def view(self, key: str, frames: int, moving: bool = False) -> View:
        """The view of a release that is kept."""
        return _view_of(self._published_file(key), frames, moving)

    def scores_file(self, job: Job, key: str) -> Path:
        """Where lies what the attacker of a job tells of a release."""
        tried = hashlib.sha256(np.ascontiguousarray(job.exam.test).data).hexdigest()[:8]
        return self.folder / "scores" / f"{job.name}-{key}-{tried}.npz"


class Work(Protocol):
    """Something that a process can do alone, and that leaves its result in the cache."""

    def finished(self, cache: Cache) -> bool:
        """Whether nothing is left to do."""

    def run(self, cache: Cache) -> None:
        """Do what is left."""


def run_jobs(
    jobs: Sequence[Work], cache: Cache, workers: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Do all jobs that are not finished, several at a time. Stopped at any point, the same call goes on there.

    Raises AuditError when a process is ended from outside.
    """
    waiting = [job for job in jobs if not job.finished(cache)]
    done = len(jobs) - len(waiting)
    progress(done, len(jobs))
    if workers <= 1 or len(waiting) <= 1:
        for job in waiting:
            job.run(cache)
            done += 1
            progress(done, len(jobs))
        return
    with worker_pool(min(workers, len(waiting)), _prepare, cache.folder) as pool:
        try:
            with interrupts_later():
                futures: list[Future[None]] = [pool.submit(_work, job) for job in waiting]
            for future in as_completed(futures):
                future.result()
                done += 1
                progress(done, len(jobs))
        except BrokenProcessPool as error:
            raise AuditError(
                "a process was ended from outside, maybe for want of memory: run the same audit again, with fewer "
                "workers; it goes on where it stopped"
            ) from error


_cache: Cache
"""Of a worker process."""


def _prepare(folder: Path) -> None:
    global _cache
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    _cache = Cache(folder)


def _work(job: Work) -> None:
    job.run(_cache)


@functools.lru_cache(maxsize=16)
def _view_of(file: Path, frames: int, moving: bool) -> View:
    published = Published.load(file)
    return dataclasses.replace(view(published, frames, moving), channels=channel_features(published))


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A path to write to; what was written becomes `file` when all of it is there."""
    partial = file.with_name(f".{os.getpid()}-{file.name}")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
