"""From what attackers told to what is said of a release."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .channels import CHANNELS
from .errors import AuditError
from .exam import Exam
from .jobs import Cache, Told
from .plan import Plan
from .results import RAW, TEMPLATE, Attack, Channel, Finding, Inversion, Linkage, TaskRecord, Threat, Weak
from .statistics import Interval, bootstrap_maximum, bootstrap_r_squared, r_squared, wilson

KINDS: Final = {name: name for name in ("proportions", "statistics", "frame", "window")}
"""What families see; all others see clips."""

Doubles = NDArray[np.float64]


class Analysis:
    """Reads the finished jobs of a plan."""

    def __init__(self, plan: Plan, cache: Cache) -> None:
        self._plan, self._cache = plan, cache
        self._families = plan.settings.attackers.families
        self._weak = {exam.task.name: self._weak_of(exam) for exam in plan.exams}

    def attacks(self) -> Iterator[Attack]:
        """All attackers on all releases."""
        for exam in self._plan.exams:
            weak = {one.family for one in self._weak[exam.task.name]}
            for name in self._plan.keys:
                for threat, learned_on in self._threats(exam, name).items():
                    for family in self._families:
                        told = self._told(exam, family, learned_on, name)
                        marks = [_marks(exam, one) for one in told]
                        yield Attack(
                            release=name,
                            task=exam.task.name,
                            threat=threat,
                            family=family,
                            kind=KINDS.get(family, "clip"),
                            scores=tuple(_score(exam, one) for one in marks),
                            interval=_interval(exam, marks),
                            epochs=tuple(one.course.epochs for one in told),
                            counts=family not in weak and all(one.course.converged for one in told),
                        )

    def weak(self) -> Iterator[Weak]:
        """Attackers that fail on raw skeletons: too weak, or stopped before they had learned all they could."""
        for found in self._weak.values():
            yield from found

    def failures(self, attacks: Sequence[Attack]) -> Iterator[str]:
        """Why the audit says nothing of privacy, if it does not."""
        for exam in self._plan.exams:
            task = exam.task
            best = max(one.score for one in attacks if (one.task, one.release) == (task.name, RAW))
            if task.known is not None and best < task.known:
                yield f"{task.name}: raw skeletons are read at {best:.3f}, below the known {task.known:.3f}"
            for name in self._plan.keys if task.use == "private" else ():  # a weak recognizer flatters nobody
                mine = [one for one in attacks if (one.task, one.release, one.threat) == (task.name, name, "adaptive")]
                if not any(one.counts and one.kind == "clip" for one in mine):
                    yield f"{task.name}: no attacker on whole clips of {name} is strong enough and has converged"
        for link in self.linkages():
            if not link.converged:
                yield f"linkage of unseen persons, {link.release} with {link.gallery}: the attacker has not converged"
        for inversion in self.inversions():
            if not inversion.converged:
                yield f"inversion of {inversion.release}: the attacker has not converged"

    def findings(self) -> Iterator[Finding]:
        """The strongest adaptive attacker's word, for each task and release; side channels are attackers too."""
        for exam in self._plan.exams:
            for name in self._plan.keys:
                yield self._finding(exam, name)

    def channels(self) -> Iterator[Channel]:
        """What side channels tell."""
        for exam in self._plan.exams:
            if self._has_channels(exam):
                for name in self._plan.keys:
                    for channel in CHANNELS:
                        marks = [_marks(exam, one) for one in self._told(exam, channel, name, name)]
                        interval = _interval(exam, marks)
                        yield Channel(
                            release=name,
                            task=exam.task.name,
                            name=channel,
                            score=float(np.mean([_score(exam, one) for one in marks])),
                            interval=interval,
                            told=_told_more(exam, interval, len(CHANNELS)),
                        )

    def linkages(self) -> Iterator[Linkage]:
        """Persons never seen, by release; means over seeds, and the widest interval."""
        found: dict[tuple[str, str], list[Linkage]] = {}
        for job in self._plan.linkages():
            for one in job.found(self._cache):
                found.setdefault((one.release, one.gallery), []).append(one)
        for several in found.values():
            first = several[0]
            yield Linkage(
                release=first.release,
                gallery=first.gallery,
                learned=first.learned,
                persons=first.persons,
                auc=float(np.mean([one.auc for one in several])),
                auc_interval=Interval(
                    min(one.auc_interval.low for one in several), max(one.auc_interval.high for one in several)
                ),
                eer=float(np.mean([one.eer for one in several])),
                tpr_at_1_fpr=float(np.mean([one.tpr_at_1_fpr for one in several])),
                converged=all(one.converged for one in several),
            )

    def inversions(self) -> Iterator[Inversion]:
        """The way back, by release."""
        for job in self._plan.inversions():
            yield job.found(self._cache)

    def tasks(self) -> Iterator[TaskRecord]:
        """What was told."""
        for exam in self._plan.exams:
            yield TaskRecord(
                name=exam.task.name,
                label=exam.task.label,
                use=exam.task.use,
                classes=exam.classes,
                learned=len(exam.learn) + len(exam.validate),
                validated=len(exam.validate),
                tried=len(exam.test),
                persons=len(np.unique(exam.persons[exam.test])),
                duplicates=exam.duplicates,
                unseen=exam.unseen,
                prior=exam.prior,
                prior_interval=wilson(exam.prior, len(exam.test)),
                known=exam.task.known,
            )

    def _threats(self, exam: Exam, name: str) -> dict[Threat, str]:
        """Who is tried on a release, and what they have learned from."""
        threats: dict[Threat, str] = {"adaptive": name}
        if name != RAW:
            threats["ignorant"] = RAW
            if exam.task.use == "utility" and name != TEMPLATE and TEMPLATE in self._plan.keys:
                threats["from template"] = TEMPLATE
        return threats

    def _has_channels(self, exam: Exam) -> bool:
        return any(job.exam is exam for job in self._plan.channels(RAW))

    def _told(self, exam: Exam, family: str, learned_on: str, tried_on: str) -> list[Told]:
        """What a family tells, for each seed."""
        jobs = self._plan.channels(learned_on) if family in CHANNELS else self._plan.attacks(learned_on)
        found = []
        for job in jobs:
            if job.exam is exam and job.family == family:
                told = self._cache.told(job, self._plan.keys[tried_on])
                if told is None:
                    raise AuditError(f"{exam.task.name}: the attacks are not finished")
                found.append(told)
        return found

    def _weak_of(self, exam: Exam) -> list[Weak]:
        scores, converged = {}, {}
        for family in self._families:
            told = self._told(exam, family, RAW, RAW)
            scores[family] = float(np.mean([_score(exam, _marks(exam, one)) for one in told]))
            converged[family] = all(one.course.converged for one in told)
        best = exam.task.known if exam.task.known is not None else max(scores.values())
        needed = exam.prior + self._plan.settings.attackers.sufficient * (best - exam.prior)
        return [
            Weak(task=exam.task.name, family=family, score=score, needed=needed, converged=converged[family])
            for family, score in scores.items()
            if score < needed or not converged[family]
        ]

    def _finding(self, exam: Exam, name: str) -> Finding:
        channels = CHANNELS if self._has_channels(exam) else ()
        told = {family: self._told(exam, family, name, name) for family in (*self._families, *channels)}
        marks = {family: [_marks(exam, one) for one in several] for family, several in told.items()}
        scores = {family: float(np.mean([_score(exam, one) for one in several])) for family, several in marks.items()}
        best = max(scores, key=lambda family: scores[family])
        score = scores[best]
        if not exam.classes:
            interval = _interval(exam, marks[best])
            return Finding(
                release=name, task=exam.task.name, family=best, score=score, interval=interval,
                told=_told_more(exam, interval, len(scores)), of_persons={}, confusion=(),
            )  # fmt: skip
        persons = exam.persons[exam.test]
        means = {family: np.mean(several, 0) for family, several in marks.items()}
        interval = bootstrap_maximum(np.stack(list(means.values())), persons)
        confusion = np.zeros((len(exam.classes), len(exam.classes)), np.int64)
        np.add.at(confusion, (exam.targets[exam.test].astype(np.int64), told[best][0].scores.argmax(1)), 1)
        return Finding(
            release=name,
            task=exam.task.name,
            family=best,
            score=score,
            interval=interval,
            told=_told_more(exam, interval, len(scores)),
            of_persons={int(person): float(means[best][persons == person].mean()) for person in np.unique(persons)},
            confusion=tuple(tuple(row) for row in confusion.tolist()),
        )


def _marks(exam: Exam, told: Told) -> Doubles:
    """(n,) for each sequence tried 1 where told right, 0 where not; estimates as they are."""
    if not exam.classes:
        return told.scores[:, 0].astype(np.float64)
    right: Doubles = (told.scores.argmax(1) == exam.targets[exam.test]).astype(np.float64)
    return right


def _score(exam: Exam, marks: Doubles) -> float:
    return float(marks.mean()) if exam.classes else r_squared(marks, exam.targets[exam.test].astype(np.float64))


def _interval(exam: Exam, marks: Sequence[Doubles]) -> Interval:
    persons, mean = exam.persons[exam.test], np.mean(marks, 0)
    if exam.classes:
        return bootstrap_maximum(mean[None], persons)
    return bootstrap_r_squared(mean, exam.targets[exam.test].astype(np.float64), persons)


def _told_more(exam: Exam, interval: Interval, attackers: int) -> bool:
    """Whether an interval lies above what the luckiest of so many guessing attackers gets."""
    return interval.low > (wilson(exam.prior, len(exam.test), attackers).high if exam.classes else 0.0)
