"""Rows of the report's tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from skelanon.audit.results import RAW, Attack, Audit, Finding, TaskRecord, Threat

from .words import last_raw

_MOST_CLASSES: Final = 20


@dataclass(frozen=True, slots=True)
class AttackRow:
    """A family on a release. `ignorant` is there only beside `adaptive`: alone it would flatter the release."""

    release: str
    first: int
    """Rows of the release, in its first row; 0 in the others."""
    family: str
    adaptive: Attack | None
    ignorant: Attack | None
    strongest: bool
    why_not: str
    """Why it does not count; empty where it does."""
    shown: bool
    """Whether scores may be shown: of a failed audit, only those on raw skeletons."""


@dataclass(frozen=True, slots=True)
class PersonsRow:
    """How unevenly a release protects persons."""

    record: TaskRecord
    finding: Finding
    worst: tuple[int, ...]
    share: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class UtilityRow:
    """What recognizers still tell, who learned from the release, and who did not."""

    record: TaskRecord
    finding: Finding
    lost: float | None
    """Below raw skeletons; none of these."""
    frozen: float | None
    """The best recognizer that learned from raw skeletons."""
    of_template: float | None
    """The best that learned from Template."""


@dataclass(frozen=True, slots=True)
class Drops:
    """Share of each class told right: of raw skeletons, and of each release."""

    record: TaskRecord
    releases: tuple[str, ...]
    rows: tuple[tuple[int, tuple[float | None, ...]], ...]
    left_out: int
    """Classes that lose less than those in `rows`."""


def attack_rows(audit: Audit, record: TaskRecord) -> list[AttackRow]:
    """All attackers of a task, by release, raw at the end."""
    attacks = {(one.release, one.family, one.threat): one for one in audit.attacks if one.task == record.name}
    rows = []
    for release in last_raw(audit):
        families = list(dict.fromkeys(family for name, family, _ in attacks if name == release))
        scores = {family: one.score for family in families if (one := attacks.get((release, family, "adaptive")))}
        for number, family in enumerate(families):
            adaptive = attacks.get((release, family, "adaptive"))
            rows.append(
                AttackRow(
                    release=release,
                    first=len(families) if number == 0 else 0,
                    family=family,
                    adaptive=adaptive,
                    ignorant=attacks.get((release, family, "ignorant")) if adaptive else None,
                    strongest=bool(scores) and scores.get(family) == max(scores.values()),
                    why_not=_why_not(audit, record, family, adaptive),
                    shown=not audit.failed or release == RAW,
                )
            )
    return rows


def _why_not(audit: Audit, record: TaskRecord, family: str, adaptive: Attack | None) -> str:
    if adaptive is None:
        return "adaptive not tried"
    if adaptive.counts:
        return ""
    weak = [one for one in audit.weak if (one.task, one.family) == (record.name, family)]
    return "too weak on raw" if any(one.score < one.needed for one in weak) else "not converged"


def persons_rows(audit: Audit) -> list[PersonsRow]:
    """Of each private task and release, the worst-protected person first in `shares`."""
    rows = []
    for record in audit.tasks:
        for finding in _of_task(audit, record):
            if record.use == "private" and finding.of_persons:
                shares = sorted(finding.of_persons.values(), reverse=True)
                worst = tuple(person for person, share in finding.of_persons.items() if share == shares[0])
                rows.append(PersonsRow(record, finding, worst, shares[0], tuple(shares)))
    return rows


def utility_rows(audit: Audit) -> list[UtilityRow]:
    """Of each utility task and release."""
    rows = []
    for record in audit.tasks:
        findings = _of_task(audit, record) if record.use == "utility" else []
        raw = next((one.score for one in findings if one.release == RAW), None)
        for one in findings:
            lost = None if raw is None or one.release == RAW else raw - one.score
            frozen, of_template = _best(audit, one, "ignorant"), _best(audit, one, "from template")
            rows.append(UtilityRow(record, one, lost, frozen, of_template))
    return rows


def _best(audit: Audit, finding: Finding, threat: Threat) -> float | None:
    """Of the attackers of a kind on a finding's release and task."""
    wanted = (finding.release, finding.task, threat)
    return max((one.score for one in audit.attacks if (one.release, one.task, one.threat) == wanted), default=None)


def drops(audit: Audit) -> list[Drops]:
    """Of each utility task of classes, the classes that lose most first."""
    tables = []
    for record in audit.tasks:
        findings = [one for one in _of_task(audit, record) if one.confusion] if record.use == "utility" else []
        if len(findings) > 1 and findings[-1].release == RAW:
            shares = [_right(one) for one in findings]  # (R, classes)
            order = sorted(range(len(record.classes)), key=lambda one: _lost(shares, one), reverse=True)
            rows = [(record.classes[one], tuple(share[one] for share in shares)) for one in order]
            kept = tuple(rows[:_MOST_CLASSES])
            tables.append(Drops(record, tuple(one.release for one in findings), kept, len(rows) - len(kept)))
    return tables


def _of_task(audit: Audit, record: TaskRecord) -> list[Finding]:
    order = last_raw(audit)
    return sorted((one for one in audit.findings if one.task == record.name), key=lambda one: order.index(one.release))


def _right(finding: Finding) -> list[float | None]:
    """For each class its share told right; none of those that were not tried."""
    return [row[i] / sum(row) if sum(row) else None for i, row in enumerate(finding.confusion)]


def _lost(shares: Sequence[Sequence[float | None]], one: int) -> float:
    *released, raw = (share[one] for share in shares)
    return max((raw - share for share in released if raw is not None and share is not None), default=-1.0)
