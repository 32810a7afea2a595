"""Linkage: exact rates, ties included; persons are linked where something tells them, and no pair is a cheat."""

from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("sklearn", reason="needs skelanon[train]")

import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from skelanon.audit import linkage
from skelanon.audit.attackers.attacker import Course, Lesson, Scores
from skelanon.audit.attackers.learning import NetworkAttacker
from skelanon.audit.errors import AuditError
from skelanon.audit.linkage import area, bootstrap_area, curve, equal_error_rate, link, true_positives_at
from skelanon.audit.statistics import Interval
from skelanon.audit.view import View
from skelanon.configs.auditing import AttackerSettings
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

FRAMES = 8
BODY = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None])
SETTINGS = AttackerSettings(families=["tcn"], seeds=[0], max_epochs=12, patience=4, batch_size=16)


def rates(scores: list[float], same: list[int]) -> tuple[float, float, float]:
    fpr, tpr = curve(np.array(scores), np.array(same, np.bool_))
    return area(fpr, tpr), equal_error_rate(fpr, tpr), true_positives_at(fpr, tpr, 0.01)


def test_rates_by_hand() -> None:
    assert rates([3, 2, 1, 0], [1, 1, 0, 0]) == (1, 0, 1)
    assert rates([0, 1, 2, 3], [1, 1, 0, 0]) == (0, 1, 0)
    # in order: same, other, same, other: 3 of 4 pairs of pairs are right; (0, .5), (.5, .5): half of each are wrong
    assert rates([4, 3, 2, 1], [1, 0, 1, 0]) == (0.75, 0.5, 0.5)
    # 5: same; 4: one of each; 3: other. Wins 1, 1, .5, 1 of 4; from (0, .5) to (.5, 1), which meets 1 - fpr at .25
    assert rates([5, 4, 4, 3], [1, 1, 0, 0]) == pytest.approx((0.875, 0.25, 0.51))


def test_equal_scores_say_nothing() -> None:
    assert rates([1] * 7, [1, 1, 0, 0, 0, 0, 0]) == pytest.approx((0.5, 0.5, 0.01))


def test_one_percent_of_two_hundred_pairs_are_two() -> None:
    """Persons: 10 pairs. Two pairs of others score higher than four of them, a third one higher than all others."""
    same = [0, 1, 1, 0, 1, 1, 1, 0] + [1] * 5 + [0] * 197
    assert sum(same) == 10
    _, _, at_one_percent = rates(list(range(len(same), 0, -1)), same)
    assert at_one_percent == 0.5


@pytest.mark.parametrize("levels", [3, 20, 10_000])
def test_rates_agree_with_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(levels)
    same = rng.random(300) < 0.2
    scores = np.round((rng.normal(size=300) + same) * levels / 6)
    fpr, tpr = curve(scores, same)
    theirs = roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(fpr, theirs[0], atol=1e-12)
    np.testing.assert_allclose(tpr, theirs[1], atol=1e-12)
    assert area(fpr, tpr) == pytest.approx(roc_auc_score(same, scores), abs=1e-12)
    equal = equal_error_rate(fpr, tpr)
    assert np.interp(equal, fpr, tpr) == pytest.approx(1 - equal, abs=1e-9)


def pairs_of(owner: Integers, scores: Doubles) -> tuple[Doubles, Integers, Integers]:
    one, other = np.array(list(combinations(range(len(owner)), 2))).T
    return scores[: len(one)], owner[one], owner[other]


def test_the_interval_is_that_of_persons_drawn_anew() -> None:
    """Against scikit-learn's area with weights, draw by draw."""
    rng = np.random.default_rng(0)
    owner = np.array([7, 7, 7, 3, 3, 9, 9, 9, 9, 4])
    scores, first, second = pairs_of(owner, np.round(rng.normal(size=45), 1))
    scores = scores + 0.5 * (first == second)
    people, areas = [3, 4, 7, 9], []
    for draw in np.random.default_rng(0).multinomial(4, np.full(4, 0.25), linkage._DRAWS):
        count = dict(zip(people, draw.tolist(), strict=True))
        weight = np.array(
            [count[a] if a == b else count[a] * count[b] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
        )
        same = first == second
        if weight[same].sum() and weight[~same].sum():
            areas.append(roc_auc_score(same, scores, sample_weight=weight))
    low, high = np.quantile(areas, (0.025, 0.975))
    found = bootstrap_area(scores, first, second)
    assert found == pytest.approx((low, high), abs=1e-9)
    assert bootstrap_area(scores, second, first) == pytest.approx(found, abs=1e-9)


def test_two_persons_say_nothing_of_all_persons() -> None:
    scores, first, second = pairs_of(np.array([1, 1, 2, 2]), np.arange(6.0))
    assert bootstrap_area(scores, first, second) == Interval(0.0, 1.0)


def bodies(persons: Integers, spread: float, seed: int = 0) -> View:
    """Sequences of bodies whose sizes differ by person, by `spread` at most."""
    rng = np.random.default_rng(seed)
    size = 1 + spread * np.linspace(-1, 1, persons.max() + 1)[persons]
    faced = BODY * size[:, None, None, None] + rng.normal(0, 0.01, (len(persons), FRAMES, 25, 3))
    return View(faced.astype(np.float32), rng.normal(0, 0.01, (len(persons), FRAMES, 3)).astype(np.float32))


PERSONS = np.random.default_rng(5).permutation(np.arange(96) % 12)
LEARN, TEST = np.flatnonzero(PERSONS % 2 == 0), np.flatnonzero(PERSONS % 2)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_unseen_persons_are_linked_by_what_tells_them() -> None:
    raw, released = bodies(PERSONS, 0.3), bodies(PERSONS, 0.3, seed=1)
    for found, gallery in zip(
        link("smaller", raw, [released], LEARN, TEST, PERSONS, SETTINGS, 0), ("released", "raw"), strict=True
    ):
        assert (found.release, found.gallery, found.learned, found.persons) == ("smaller", gallery, 6, 6)
        assert found.auc > 0.85
        assert found.eer < 0.25
        assert found.tpr_at_1_fpr > 0.1
        assert found.auc_interval.low <= found.auc <= found.auc_interval.high


def test_who_has_no_trait_is_not_linked() -> None:
    """Not to others, and not to raw sequences of the same person either."""
    raw, released = bodies(PERSONS, 0.3), bodies(PERSONS, 0.0, seed=1)
    for found in link("even", raw, [released], LEARN, TEST, PERSONS, SETTINGS, 0):
        assert 0.4 < found.auc < 0.6


def test_a_constant_release_says_nothing_to_the_bit() -> None:
    raw = bodies(PERSONS, 0.3)
    released = View(np.repeat(raw.faced[:1], 96, 0), np.repeat(raw.place[:1], 96, 0))
    alone, cross = link("constant", raw, [released], LEARN, TEST, PERSONS, SETTINGS, 0)
    assert (alone.auc, alone.eer) == (0.5, 0.5)
    assert alone.tpr_at_1_fpr == pytest.approx(0.01)
    assert 0.4 < cross.auc < 0.6


class Spy(NetworkAttacker):
    """Learns nothing; each sequence's embedding is its own direction, the same raw and released."""

    lessons: list[Lesson]

    def learn(self, lesson: Lesson) -> Course:
        self.lessons.append(lesson)
        return Course(converged=True, epochs=1)

    def embed(self, view: View) -> Scores:
        number = view.place[:, 0, 0].astype(np.int64)
        return np.where(number[:, None] < 0, 0, np.eye(96, dtype=np.float32)[np.abs(number) % 96])


def numbered(persons: Integers) -> View:
    """A view that shows the number of each sequence; negative, those that are learned from."""
    view = bodies(persons, 0.0)
    number = np.where(np.isin(np.arange(len(persons)), LEARN), -1 - np.arange(len(persons)), np.arange(len(persons)))
    return View(view.faced, np.broadcast_to(number[:, None, None], view.place.shape).astype(np.float32))


def test_no_sequence_is_linked_to_itself_and_no_unseen_one_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    Spy.lessons = []
    monkeypatch.setattr(linkage, "NetworkAttacker", Spy)
    view = numbered(PERSONS)
    for found in link("spied", view, [view], LEARN, TEST, PERSONS, SETTINGS, 0):
        assert found.auc == 0.5  # each is like itself alone: one pair with itself would show
    alone, both = Spy.lessons
    for lesson, times in ((alone, 1), (both, 2)):
        shown = np.concatenate([lesson.train.place, lesson.validation.place])[:, 0, 0]
        assert sorted(-1 - shown) == sorted([*LEARN] * times)
        told = np.concatenate([lesson.train_targets, lesson.validation_targets])
        assert (PERSONS[(-1 - shown).astype(int)] == 2 * told).all()
        kept = set(lesson.validation.place[:, 0, 0].tolist())
        assert not kept & set(lesson.train.place[:, 0, 0].tolist())
        assert set(lesson.validation_targets.tolist()) == set(range(6))


def test_of_too_many_sequences_some_are_compared_of_all_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linkage, "_MOST", 9)
    persons = np.array([5] * 40 + [6] * 2 + [7] * 20)
    some = linkage._drawn(np.arange(62), persons)
    assert np.bincount(persons[some])[5:].tolist() in ([4, 2, 3], [3, 2, 4])
    assert linkage._drawn(np.arange(9), persons).tolist() == list(range(9))


@pytest.mark.parametrize(
    ("persons", "learn", "message"),
    [
        ([0, 0, 0, 1, 1, 2, 2], [0, 1, 2], "1 persons to learn from and 2 to be linked"),
        ([0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3], "2 persons to learn from and 1 to be linked"),
        ([0, 0, 1, 1, 2, 2, 0], [0, 1, 2, 3], "both learned from and to be linked"),
        ([0, 0, 0, 1, 1, 2, 3], [0, 1, 2, 3, 4], "one sequence: there is nothing to link"),
        ([0, 1, 2, 3, 3, 4, 4], [0, 1, 2], "none is left for validation"),
    ],
)
def test_what_cannot_be_linked_is_refused(persons: list[int], learn: list[int], message: str) -> None:
    whose, part = np.array(persons), np.array(learn)
    view = bodies(whose, 0.1)
    with pytest.raises(AuditError, match=message):
        link("any", view, [view], part, np.setdiff1d(np.arange(7), part), whose, SETTINGS, 0)
