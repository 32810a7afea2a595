"""The few numbers of an audit that a bundle carries in its manifest, and thereby onto the wire."""

import math
from typing import Any, Final

from skelanon.audit.errors import AuditError
from skelanon.audit.results import RAW, Audit, Finding, Linkage, TaskRecord
from skelanon.audit.statistics import Interval

FORMAT: Final = 1


def summary(audit: Audit, release: str) -> dict[str, Any]:
    """What can be told from a release, as plain values; shares and R2 of 0 to 1, rounded to 4 digits.

    The release's name is left out: it may be a path. Raises AuditError: the audit failed, or knows no such release.
    """
    if audit.failed:
        raise AuditError(f"this audit says nothing of privacy, and is not to be summarised: {audit.failed[0]}")
    if release not in audit.releases:
        raise AuditError(f"{release!r} was not audited, but {sorted(audit.releases)}")
    records = {record.name: record for record in audit.tasks}
    found = [(records[one.task], one) for one in audit.findings if one.release == release]
    private = [_headline(audit, record, finding) for record, finding in found if record.use == "private"]
    if not private:
        raise AuditError(f"no private label of {release!r} was attacked: there is nothing to summarise")
    return {
        "format": FORMAT,
        "failed": False,
        "data": audit.data,
        "fingerprint": audit.fingerprint,
        "release_digest": audit.releases[release],
        "sequences": audit.sequences,
        "seeds": list(audit.seeds),
        "private": private,
        "utility": [_utility(audit, record, one) for record, one in found if record.use == "utility"],
        "channels_told": sorted({one.name for one in audit.channels if one.release == release and one.told}),
        "linkage": [_linkage(one) for one in audit.linkage if one.release == release],
    }


def _headline(audit: Audit, record: TaskRecord, finding: Finding) -> dict[str, Any]:
    families = {one.family for one in audit.attacks if _adaptive(one.release, one.task, one.threat, finding)}
    return {
        **_scores(record, finding),
        "told": finding.told,
        "attacker": finding.family,
        "attackers": len(families)
        + sum((one.release, one.task) == (finding.release, record.name) for one in audit.channels),
        "tried": record.tried,
        "persons": record.persons,
    }


def _adaptive(release: str, task: str, threat: str, finding: Finding) -> bool:
    return (release, task, threat) == (finding.release, finding.task, "adaptive")


def _linkage(one: Linkage) -> dict[str, Any]:
    interval = _pair(one.auc_interval)
    return {"gallery": one.gallery, "persons": one.persons, "auc": _round(one.auc), "interval": interval}


def _utility(audit: Audit, record: TaskRecord, finding: Finding) -> dict[str, Any]:
    raw = [one.score for one in audit.findings if (one.release, one.task) == (RAW, record.name)]
    return {**_scores(record, finding), "raw_score": _round(raw[0]) if raw else None, "tried": record.tried}


def _scores(record: TaskRecord, finding: Finding) -> dict[str, Any]:
    return {
        "task": record.name,
        "label": record.label,
        "measure": "accuracy" if record.classes else "r2",
        "score": _round(finding.score),
        "interval": _pair(finding.interval),
        "prior": _round(record.prior),
    }


def _pair(interval: Interval) -> list[float | None]:
    return [_round(interval.low), _round(interval.high)]


def _round(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
