"""The verdict in plain words: who can still be recognised in a release, by what, and how sure that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from skelanon.audit.results import RAW, Audit, Finding, Linkage, TaskRecord

from .words import count, family_words, last_raw, listed, measure, of_persons, percent, share_span, span

_FEW_SEEDS: Final = 3
_FEW_PERSONS: Final = 20


@dataclass(frozen=True, slots=True)
class Statement:
    """What the strongest attacker tells for one task: a sentence around its score, and the numbers for a bar."""

    task: str
    told: bool
    before: str
    score: str
    after: str
    more: str
    low: float
    value: float
    high: float
    prior: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one release."""

    release: str
    headline: str
    told: bool
    """Something private is told, by whichever way."""
    private: tuple[Statement, ...]
    leaks: tuple[str, ...]
    """Sentences on ways beside the strongest attacker's."""
    utility: tuple[str, ...]


def verdicts(audit: Audit) -> list[Verdict]:
    """One for each release, raw at the end; none where the audit failed, for then it says nothing."""
    return [] if audit.failed else [_verdict(audit, release) for release in last_raw(audit)]


def cautions(audit: Audit) -> Iterator[str]:
    """What to keep in mind with every number on the page."""
    if len(audit.seeds) < _FEW_SEEDS:
        times = "only once (one seed)" if len(audit.seeds) == 1 else "only twice (two seeds)"
        yield (
            f"Each attacker was trained {times}. The same attacker, trained again, may come out better or worse, and "
            "the intervals do not cover that. Repeat the audit with at least three seeds before you rely on it."
        )
    persons = min((record.persons for record in audit.tasks if record.use == "private"), default=_FEW_PERSONS)
    if persons < _FEW_PERSONS:
        yield (
            f"The intervals rest on {count(persons, 'person')}. With so few they are rough, and too narrow rather "
            "than too wide."
        )


def _verdict(audit: Audit, release: str) -> Verdict:
    records = {record.name: record for record in audit.tasks}
    found = [(records[one.task], one) for one in audit.findings if one.release == release]
    private = [(record, one) for record, one in found if record.use == "private"]
    leaks = list(_leaks(audit, release))
    return Verdict(
        release=release,
        headline=_headline(audit, private, bool(leaks)),
        told=bool(leaks) or any(one.told for _, one in private),
        private=tuple(_statement(audit, record, one) for record, one in private),
        leaks=tuple(leaks),
        utility=tuple(_utility(audit, record, one) for record, one in found if record.use == "utility"),
    )


def _headline(audit: Audit, private: list[tuple[TaskRecord, Finding]], leaks: bool) -> str:
    told = [record for record, finding in private if finding.told]
    labels = dict.fromkeys("who it is" if of_persons(audit, record) else record.label for record in told)
    if any(of_persons(audit, record) for record in told):
        others = [label for label in labels if label != "who it is"]
        return "Persons can be recognised" + (f", and {listed(others)} can be told" if others else "")
    if labels:
        return f"{listed(labels)} can be told"
    if leaks:
        return "Something private can be told, though not by the attackers who see the movement"
    if not private:
        return "No private label was attacked: nothing is said of privacy"
    return "No attacker here did better than guessing, as far as can be told"


def _statement(audit: Audit, record: TaskRecord, finding: Finding) -> Statement:
    attackers = len(
        {
            one.family
            for one in audit.attacks
            if (one.release, one.task, one.threat) == (finding.release, finding.task, "adaptive")
        }
    ) + sum((one.release, one.task) == (finding.release, finding.task) for one in audit.channels)
    skeletons = "raw skeletons" if finding.release == RAW else "the published skeletons"
    strongest = (
        f"the strongest of {attackers} attackers who" if attackers > 1 else "the one attacker tried, which"
    ) + f" learned from {skeletons}"
    if record.classes:
        what = "names the right person" if of_persons(audit, record) else f"tells the right {record.label}"
        verb, guess = f"{what} for ", f"Guessing gets {percent(record.prior)}."
    else:
        verb = f"estimates {record.label} with an R² of "
        guess = "An R² of 1 is exact; guessing the mean gets 0."
    interval = f" (95\u00a0% interval {span(record, finding.interval)}). "
    return Statement(
        task=record.name,
        told=finding.told,
        before=f"Of {count(record.tried, 'sequence')} of {count(record.persons, 'person')}, {strongest} {verb}",
        score=measure(record, finding.score),
        after=f"{interval}{guess}",
        more=_more(audit, record, finding),
        low=finding.interval.low,
        value=finding.score,
        high=finding.interval.high,
        prior=record.prior,
    )


def _more(audit: Audit, record: TaskRecord, finding: Finding) -> str:
    parts = [f"It sees {family_words(finding.family)}."]
    raw = [one.score for one in audit.findings if (one.release, one.task) == (RAW, record.name)]
    if raw and finding.release != RAW:
        parts.append(f"On raw skeletons: {measure(record, raw[0])}.")
    parts += [
        f"Without any skeleton, by the true {one.label} and the number of frames: {measure(record, one.score)}."
        for one in audit.floors
        if (one.release, one.task) == (finding.release, record.name)
    ]
    if finding.of_persons and finding.told and of_persons(audit, record):
        person, share = max(finding.of_persons.items(), key=lambda item: item[1])
        parts.append(f"Worst protected: person {person}, recognised for {percent(share)}.")
    if not finding.told:
        parts.append("That is not clearly more than guessing, which does not show that nobody can do better.")
    return " ".join(parts)


def _leaks(audit: Audit, release: str) -> Iterator[str]:
    records = {record.name: record for record in audit.tasks}
    for channel in audit.channels:
        if channel.release == release and channel.told:
            record = records[channel.task]
            yield (
                f"{record.name}: without the pose, from {channel.name} alone, an attacker tells the right "
                f"{'person' if of_persons(audit, record) else record.label} for {percent(channel.score)} "
                f"({share_span(channel.interval)}); guessing gets {percent(record.prior)}."
            )
    for one in audit.linkage:
        if one.release == release and one.auc_interval.low > 0.5:
            yield _linked(one)
    for inversion in audit.inversions:
        record = records[inversion.task]
        if inversion.release == release and inversion.interval.low > record.prior_interval.high:
            yield (
                "Raw skeletons can be learned back well enough that an attacker who knows only raw skeletons tells "
                f"the right {'person' if of_persons(audit, record) else record.label} for "
                f"{percent(inversion.read_again)} ({share_span(inversion.interval)})."
            )


def _linked(one: Linkage) -> str:
    whom = "with each other" if one.gallery == "released" else "with raw recordings"
    return (
        f"Sequences of persons whom the attacker has never seen can be linked {whom}: shown a pair of one person and "
        f"a pair of two, it knows which is which in {percent(one.auc)} of cases ({share_span(one.auc_interval)}); "
        f"guessing gets {percent(0.5)}."
    )


def _utility(audit: Audit, record: TaskRecord, finding: Finding) -> str:
    skeletons = "raw" if finding.release == RAW else "these"
    verb = f"tell the right {record.label} for" if record.classes else f"estimate {record.label} with an R² of"
    raw = [one.score for one in audit.findings if (one.release, one.task) == (RAW, record.name)]
    compared = f"; from raw skeletons {measure(record, raw[0])}" if raw and finding.release != RAW else ""
    return (
        f"Recognizers that learned from {skeletons} skeletons {verb} {measure(record, finding.score)} "
        f"({span(record, finding.interval)}){compared}."
    )
