"""All that is to be done in an audit: who attacks what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from skelanon.configs.auditing import AuditSettings
from skelanon.train.data.splits import split
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import DataError

from .channels import CHANNELS
from .errors import AuditError
from .exam import Exam, prepare
from .findings import InversionJob, LinkageJob
from .jobs import Job, Work
from .results import RAW, TEMPLATE

_CLIP: Final = "tcn"
"""Who reads inverted skeletons."""


@dataclass(frozen=True)
class Plan:
    """The jobs of an audit of several releases, `raw` first.

    draws: name to keys of each; the first is tried, attackers learn from all.
    """

    settings: AuditSettings
    dataset: SkeletonDataset
    exams: Sequence[Exam]
    draws: Mapping[str, tuple[str, ...]]

    @property
    def keys(self) -> dict[str, str]:
        """Name to key of each release that is tried."""
        return {name: keys[0] for name, keys in self.draws.items()}

    def all(self) -> list[Work]:
        """Everything, what is needed first coming first; each once."""
        attacks = {job.name: job for name in self.keys for job in (*self.attacks(name), *self.channels(name))}
        return [*attacks.values(), *self.linkages(), *self.inversions()]

    def attacks(self, name: str) -> Iterator[Job]:
        """Attackers that learn from a release.

        Those that learn from raw skeletons are tried on all releases; so are recognizers that learn from Template.
        """
        for exam in self.exams:
            for family in self.settings.attackers.families:
                for seed in self.settings.attackers.seeds:
                    yield self._job(family, seed, exam, name)

    def channels(self, name: str) -> Iterator[Job]:
        """Attackers that see but a side channel of a release; with the first seed, for they hardly differ."""
        for exam in self.exams:
            if exam.task.use == "private" and exam.classes:
                for channel in CHANNELS:
                    yield self._job(channel, self.settings.attackers.seeds[0], exam, name)

    def linkages(self) -> Iterator[LinkageJob]:
        """Persons never seen, for each release and seed."""
        settings = self.settings.linkage
        if settings is None:
            return
        try:
            parts = split(self.dataset, settings.split)
        except DataError as error:
            raise AuditError(f"{settings.name}: {error}") from None
        persons = self.dataset.labels[settings.label]
        for name, keys in self.draws.items():
            for seed in self.settings.attackers.seeds:
                yield LinkageJob(
                    name, keys, self.keys[RAW], parts.train, parts.test, persons, self.settings.frames,
                    self.settings.attackers, seed,
                )  # fmt: skip

    def inversions(self) -> Iterator[InversionJob]:
        """The way back from each release, for the first private task; with the first seed."""
        if not self.settings.inversion:
            return
        exam = next((exam for exam in self.exams if exam.task.use == "private" and exam.classes), None)
        if exam is None:
            return
        seed = self.settings.attackers.seeds[0]
        reader = self._job(_CLIP, seed, exam, RAW)
        for name, keys in self.draws.items():
            if name != RAW:
                yield InversionJob(name, keys[0], reader, self.dataset.info.measured)

    def _job(self, family: str, seed: int, exam: Exam, name: str) -> Job:
        everywhere = name == RAW or (name == TEMPLATE and exam.task.use == "utility")
        tried = tuple(dict.fromkeys(self.keys.values())) if everywhere else (self.keys[name],)
        return Job(family, seed, exam, self.draws[name], tried, self.settings.frames, self.settings.attackers)


def plan(settings: AuditSettings, dataset: SkeletonDataset, draws: Mapping[str, tuple[str, ...]]) -> Plan:
    """Work out the tasks of the settings for a data set. Raises AuditError."""
    exams = [prepare(dataset, task, settings.person, settings.attackers) for task in settings.tasks]
    if np.all([exam.task.use == "utility" for exam in exams]):
        raise AuditError("`tasks` holds nothing that is private: there is nothing to audit")
    return Plan(settings, dataset, exams, draws)
