"""Linkage: whether two sequences are known to be of one person, a person whom the attacker has never seen.

The attacker learns to tell other persons apart, and compares unseen persons by what its network decides by.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from skelanon.configs.auditing import AttackerSettings

from .attackers.attacker import Course, Lesson
from .attackers.learning import NetworkAttacker
from .attackers.networks import TemporalCnn, features
from .errors import AuditError
from .exam import Indices
from .results import Linkage
from .statistics import Interval
from .view import Floats, View, together

Doubles = NDArray[np.float64]

_MOST: Final = 1500
"""Sequences to be compared: of more, as many are drawn, of all persons alike."""
_DRAWS: Final = 2000
_DECIMALS: Final = 6
"""Of scores: what differs by less differs by rounding."""


def link(
    name: str,
    raw: View,
    released: Sequence[View],
    learn: Indices,
    test: Indices,
    persons: Indices,
    settings: AttackerSettings,
    seed: int,
) -> tuple[Linkage, Linkage]:
    """Link released sequences with each other, and with raw ones.

    raw, released: views of the same N sequences; of a release drawn at random several, of which the first is tried.
    learn, test: numbers of sequences, of different persons. persons: (N,) whose they are. The first attacker learns
    from released sequences, the second from raw and released ones. Raises AuditError: persons are too few, are learned
    from and tried, or have but one sequence each.
    """
    _check(persons, learn, test)
    test = _drawn(test, persons)
    whose = np.unique(persons[learn], return_inverse=True)[1]
    keep = _kept(whose, settings.validation)
    parts = learn[~keep], learn[keep], whose[~keep], whose[keep]
    alone, course = _embedder(released, len(released), *parts, settings, seed)
    probes = _embedded(alone, released[0], learn, test)
    both, crossed = _embedder([raw, *released], len(released), *parts, settings, seed)
    crossing, gallery = _embedded(both, released[0], learn, test), _embedded(both, raw, learn, test)

    count, owner = len(test), persons[test]
    one, other = np.triu_indices(count, 1)
    probe, entry = np.nonzero(~np.eye(count, dtype=np.bool_))  # never its own raw twin
    learned = len(np.unique(whose))
    return (
        _result(name, "released", learned, course, (probes @ probes.T)[one, other], owner[one], owner[other]),
        _result(name, "raw", learned, crossed, (crossing @ gallery.T)[probe, entry], owner[probe], owner[entry]),
    )


def curve(scores: Doubles, same: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """The ROC curve: false and true positive rates, ascending from (0, 0) to (1, 1), one point for each score.

    scores: (n,) of pairs; same: (n,) of one person. Between points the curve is straight: of pairs with equal scores
    a share is accepted at random.
    """
    level = np.unique(-scores, return_inverse=True)[1]
    right, wrong = np.bincount(level, same), np.bincount(level, ~same)
    rates = [np.append(0.0, np.cumsum(counts) / counts.sum()) for counts in (wrong, right)]
    return rates[0], rates[1]


def area(fpr: Doubles, tpr: Doubles) -> float:
    """Area under the curve; equal scores count half."""
    return float(np.trapezoid(tpr, fpr))


def equal_error_rate(fpr: Doubles, tpr: Doubles) -> float:
    """Where as many pairs of different persons are accepted as pairs of one person are refused."""
    excess = fpr + tpr - 1  # ascends from -1 to 1
    after = int(np.argmax(excess >= 0))
    way = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(fpr[after - 1] + way * (fpr[after] - fpr[after - 1]))


def true_positives_at(fpr: Doubles, tpr: Doubles, rate: float) -> float:
    """The highest true positive rate at a false positive rate below 1."""
    after = int(np.argmax(fpr > rate))
    way = (rate - fpr[after - 1]) / (fpr[after] - fpr[after - 1])
    return float(tpr[after - 1] + way * (tpr[after] - tpr[after - 1]))


def bootstrap_area(scores: Doubles, first: Indices, second: Indices) -> Interval:
    """Percentile interval of the area under the ROC curve, persons drawn anew.

    scores: (n,) of pairs; first, second: (n,) whose the two are. A person drawn k times counts k times among pairs of
    one person, and two drawn k and l times count k * l times among pairs of different persons; draws without either
    are left out. Drawing two persons anew says nothing, and the interval is all there is.
    """
    people, member = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = np.split(member, 2)
    if len(people) < 3:
        return Interval(0.0, 1.0)
    level, same = np.unique(scores, return_inverse=True)[1], a == b
    groups, group = np.unique(np.minimum(a, b)[~same] * len(people) + np.maximum(a, b)[~same], return_inverse=True)
    right, wrong = np.bincount(a[same], minlength=len(people)), np.bincount(group)
    wins = np.empty((len(people), len(groups)))  # of a person's pairs over those of each two different persons
    for person in range(len(people)):
        mine = np.bincount(level[same & (a == person)], minlength=level.max() + 1)
        higher = mine.sum() - np.cumsum(mine) + mine / 2
        wins[person] = np.bincount(group, higher[level[~same]], len(groups))
    drawn = np.random.default_rng(0).multinomial(len(people), np.full(len(people), 1 / len(people)), _DRAWS)
    areas = []
    for draws in np.array_split(drawn.astype(np.float64), 20):
        both = draws[:, groups // len(people)] * draws[:, groups % len(people)]  # (draws, groups)
        pairs = (draws @ right) * (both @ wrong)
        won = ((draws @ wins) * both).sum(1)
        areas.append(won[pairs > 0] / pairs[pairs > 0])
    low, high = np.quantile(np.concatenate(areas), (0.025, 0.975))
    return Interval(float(low), float(high))


def _check(persons: Indices, learn: Indices, test: Indices) -> None:
    known, unseen = np.unique(persons[learn]), np.unique(persons[test])
    if len(known) < 2 or len(unseen) < 2:
        raise AuditError(
            f"linkage: {len(known)} persons to learn from and {len(unseen)} to be linked; two each are needed: "
            "check `linkage.split`"
        )
    if len(np.intersect1d(known, unseen)):
        raise AuditError("linkage: persons are both learned from and to be linked: check `linkage.split`")
    if len(test) == len(unseen):
        raise AuditError("linkage: each person to be linked has one sequence: there is nothing to link")
    if len(learn) == len(known):
        raise AuditError("linkage: each person to learn from has one sequence: none is left for validation")


def _drawn(test: Indices, persons: Indices) -> Indices:
    """At most `_MOST` sequences, taken from all persons in turn."""
    if len(test) <= _MOST:
        return test
    rng = np.random.default_rng(0)
    turn = np.empty(len(test))  # the how-many-th of its person a sequence is
    for person in np.unique(persons[test]):
        mine = np.flatnonzero(persons[test] == person)
        turn[mine] = rng.permutation(len(mine))
    return np.sort(test[np.argsort(turn, kind="stable")[:_MOST]])


def _kept(whose: Indices, share: float) -> NDArray[np.bool_]:
    """Which of the sequences to learn from are kept for validation: a share of each person's, always the same."""
    rng = np.random.default_rng(0)
    kept = np.zeros(len(whose), np.bool_)
    for person in np.unique(whose):
        mine = rng.permutation(np.flatnonzero(whose == person))
        kept[mine[: max(1, round(share * len(mine)))] if len(mine) > 1 else []] = True
    return kept


def _embedder(
    views: Sequence[View],
    draws: int,
    train: Indices,
    validation: Indices,
    train_targets: Indices,
    validation_targets: Indices,
    settings: AttackerSettings,
    seed: int,
) -> tuple[NetworkAttacker, Course]:
    """A network that has learned to tell persons apart in all views, and how that went."""
    attacker = NetworkAttacker(features, TemporalCnn, None, settings, seed)
    lesson = Lesson(
        together([one[train] for one in views]),
        np.tile(train_targets, len(views)),
        together([one[validation] for one in views]),
        np.tile(validation_targets, len(views)),
        int(train_targets.max()) + 1,
        draws,
    )
    return attacker, attacker.learn(lesson)


def _embedded(attacker: NetworkAttacker, view: View, learn: Indices, test: Indices) -> Floats:
    """(n, D) of the sequences to be linked: unit vectors, away from the mean of those learned from.

    What hardly differs from the mean stays shorter: its direction would be rounding.
    """
    known, unseen = attacker.embed(view[learn]), attacker.embed(view[test])
    least = 1e-3 * float(np.linalg.norm(known, axis=1).mean()) + 1e-12
    apart = unseen - known.mean(0)
    unit: Floats = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), least)
    return unit


def _result(
    name: str,
    gallery: Literal["released", "raw"],
    learned: int,
    course: Course,
    scores: Floats,
    first: Indices,
    second: Indices,
) -> Linkage:
    rounded: Doubles = scores.astype(np.float64).round(_DECIMALS)
    fpr, tpr = curve(rounded, first == second)
    return Linkage(
        release=name,
        gallery=gallery,
        learned=learned,
        persons=len(np.unique(np.concatenate([first, second]))),
        auc=area(fpr, tpr),
        auc_interval=bootstrap_area(rounded, first, second),
        eer=equal_error_rate(fpr, tpr),
        tpr_at_1_fpr=true_positives_at(fpr, tpr, 0.01),
        converged=course.converged,
    )
