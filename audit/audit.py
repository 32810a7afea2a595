"""The audit: publish, attack, and say what was found."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from skelanon.configs.auditing import AuditSettings
from skelanon.train.data.store import SkeletonDataset

from .analysis import Analysis
from .estimate import estimate_s
from .floor import floors
from .jobs import Cache, Work, run_jobs
from .plan import plan
from .publishing import bits_of, drawn_at_random, release, release_key
from .results import RAW, Audit
from .shape import shape
from .view import view

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


class Auditor:
    """One audit of several releases of one data set. `raw` is always among them: it shows how strong attackers are."""

    def __init__(
        self,
        settings: AuditSettings,
        releases: Sequence[str],
        cache: str | os.PathLike[str],
        report: Report = lambda what, done, total: None,
    ) -> None:
        """Work out the tasks, and publish all releases. Raises AuditError, DataError, RunnerError."""
        self._settings, self._report = settings, report
        self._dataset = SkeletonDataset(settings.data)
        self._cache = Cache(Path(cache))
        draws = {name: self._keys(name) for name in dict.fromkeys((RAW, *releases))}
        self._plan = plan(settings, self._dataset, draws)
        for name, keys in draws.items():
            self._publish(name, keys)
        self._published = {name: self._cache.published(keys[0]) for name, keys in draws.items()}

    def _keys(self, name: str) -> tuple[str, ...]:
        key = release_key(name, self._dataset)
        draws = self._settings.attackers.draws if drawn_at_random(name) else 1
        return key, *(f"{key}-{draw}" for draw in range(1, draws))

    def _publish(self, name: str, keys: tuple[str, ...]) -> None:
        say = partial(self._report, f"publishing {name}")
        for draw, key in enumerate(keys):
            self._cache.publish(key, partial(release, name, self._dataset, draw, say))

    def waiting(self) -> list[Work]:
        """What is not finished."""
        return [job for job in self._plan.all() if not job.finished(self._cache)]

    def seconds(self) -> float:
        """How long that will take, one after the other: estimated, which takes a while."""
        return estimate_s(self.waiting(), self._plan.all(), self._cache)

    def run(self, workers: int) -> Audit:
        """Do what is not finished, and say what was found. Raises AuditError."""
        run_jobs(self._plan.all(), self._cache, workers, partial(self._report, "attacks"))
        info, settings = self._dataset.info, self._settings
        analysis = Analysis(self._plan, self._cache)
        attacks = tuple(analysis.attacks())
        views = {name: view(published, settings.frames) for name, published in self._published.items()}
        raw, persons = self._published[RAW], self._dataset.labels[settings.person]
        return Audit(
            data=info.kind,
            fingerprint=info.fingerprint,
            sequences=len(self._dataset),
            releases=dict(self._plan.keys),
            seeds=tuple(settings.attackers.seeds),
            tasks=tuple(analysis.tasks()),
            attacks=attacks,
            findings=tuple(analysis.findings()),
            weak=tuple(analysis.weak()),
            failed=tuple(analysis.failures(attacks)),
            shapes=tuple(
                shape(name, views[RAW], views[name], raw, published, info.measured, persons)
                for name, published in self._published.items()
            ),
            channels=tuple(analysis.channels()),
            floors=tuple(floors(self._plan, self._published)),
            linkage=tuple(analysis.linkages()),
            inversions=tuple(analysis.inversions()),
            bits_per_frame={name: bits for name in self._plan.keys if (bits := bits_of(name)) is not None},
            settings=settings.model_dump(),
        )
