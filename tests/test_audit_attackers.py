"""Attackers find what is there, do not find what is not, and know when they have not learned all they could."""

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch

from skelanon.audit.attackers import Attacker, Lesson, create_attacker
from skelanon.audit.attackers.learning import NetworkAttacker
from skelanon.audit.view import Floats, View
from skelanon.configs.auditing import AttackerSettings, Family
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions

FRAMES = 16
SETTINGS = AttackerSettings(families=["tcn"], seeds=[0], patience=5, max_epochs=60, batch_size=16)
SEE_TIME: Final[tuple[Family, ...]] = ("statistics", "tcn")
Show = Callable[[np.random.Generator, int], Floats]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def standing() -> Floats:
    """(25, 3), metres."""
    return (ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None])).astype(np.float32)


def by_size(rng: np.random.Generator, number: int) -> Floats:
    return standing() * np.float32(0.8 + 0.2 * number) + 0.01 * rng.normal(size=(FRAMES, 25, 3)).astype(np.float32)


def by_rhythm(rng: np.random.Generator, number: int) -> Floats:
    """The right arm swings once, or three times, from a random phase; single frames say nothing."""
    phase = rng.uniform(0, 2 * np.pi) + np.arange(FRAMES) / FRAMES * 2 * np.pi * (1 + 2 * number)
    clip = np.repeat(standing()[None], FRAMES, 0)
    clip[:, [9, 10, 11, 23, 24], :2] += 0.3 * np.sin(phase)[:, None, None]
    return clip + 0.01 * rng.normal(size=clip.shape).astype(np.float32)


def by_nothing(rng: np.random.Generator, number: int) -> Floats:
    return by_size(rng, 0)


def seen(show: Show, targets: np.ndarray, seed: int) -> View:
    rng = np.random.default_rng(seed)
    faced = np.stack([show(rng, int(number)) for number in targets]).astype(np.float32)
    return View(faced, np.zeros((len(faced), FRAMES, 3), np.float32))


def taught(
    family: Family, show: Show, settings: AttackerSettings = SETTINGS, pauses: bool = False
) -> tuple[Attacker, bool]:
    targets = np.arange(96) % 2
    attacker = create_attacker(family, FRAMES, settings, 0)
    lesson = Lesson(seen(show, targets, 0), targets, seen(show, targets[:24], 1), targets[:24], 2, pauses=pauses)
    return attacker, attacker.learn(lesson).converged


def accuracy(attacker: Attacker, show: Show) -> float:
    targets = np.arange(60) % 2
    scores = attacker.tell(seen(show, targets, 2))
    assert scores.shape == (60, 2)
    return float((scores.argmax(1) == targets).mean())


@pytest.mark.parametrize("family", ["proportions", "statistics", "frame", "window", "tcn"])
def test_sizes_are_told_by_all(family: Family) -> None:
    attacker, converged = taught(family, by_size)
    assert converged
    assert accuracy(attacker, by_size) > 0.95


def test_a_rhythm_is_told_by_whoever_sees_time() -> None:
    for family in SEE_TIME:
        assert accuracy(taught(family, by_rhythm)[0], by_rhythm) > 0.9, family
    assert accuracy(taught("frame", by_rhythm)[0], by_rhythm) < 0.75


@pytest.mark.parametrize("pauses", [False, True])
def test_only_who_learns_with_pauses_sees_bodies_stand_still_before_and_after(pauses: bool) -> None:
    attacker, _ = taught("tcn", by_size, SETTINGS.model_copy(update={"max_epochs": 1}), pauses)
    assert isinstance(attacker, NetworkAttacker)
    ramp = torch.arange(float(FRAMES))[None, :, None].expand(200, FRAMES, 1)
    spans = attacker._spans(ramp)[0][..., 0]
    assert spans.min() == 0
    assert spans.max() == FRAMES - 1
    assert (spans.diff(dim=1) >= 0).all()
    still = spans.diff(dim=1) == 0  # a short span shows frames twice, a clip in the middle of a pause many times
    before, after = ((spans == end).sum(1) for end in (0, FRAMES - 1))
    assert bool((before > FRAMES / 4).any() and (after > FRAMES / 4).any()) is pauses
    assert bool((still.sum(1) > FRAMES / 2).any()) is pauses
    assert (spans[:, -1] - spans[:, 0]).min() > 0.6 * FRAMES


@pytest.mark.parametrize("family", ["proportions", "statistics", "tcn"])
def test_nothing_is_told_where_nothing_is(family: Family) -> None:
    assert 0.3 < accuracy(taught(family, by_nothing)[0], by_nothing) < 0.7


def test_networks_on_the_graph_learn() -> None:
    settings = SETTINGS.model_copy(update={"max_epochs": 4, "batch_size": 8})
    assert accuracy(taught("sgn", by_size, settings)[0], by_size) > 0.9


@pytest.mark.parametrize("family", ["st_gcn", "ctr_gcn", "shift_gcn"])
def test_all_networks_take_a_view(family: Family) -> None:
    attacker = create_attacker(family, FRAMES, SETTINGS.model_copy(update={"max_epochs": 1, "batch_size": 2}), 0)
    targets = np.arange(4) % 2
    lesson = Lesson(seen(by_size, targets, 0), targets, seen(by_size, targets, 1), targets, 2)
    assert not attacker.learn(lesson).converged
    scores = attacker.tell(lesson.validation)
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-4)


def test_who_is_stopped_early_has_not_converged() -> None:
    assert not taught("tcn", by_size, SETTINGS.model_copy(update={"max_epochs": 1}))[1]


@pytest.mark.parametrize("family", ["proportions", "statistics", "tcn"])
def test_numbers_are_estimated(family: Family) -> None:
    heights = np.random.default_rng(0).uniform(1.5, 2.0, 96)
    view = seen(lambda rng, i: by_size(rng, 0) * np.float32(heights[i] / 1.7), np.arange(96), 0)
    part, rest = np.arange(72), np.arange(72, 96)
    attacker = create_attacker(family, FRAMES, SETTINGS, 0)
    attacker.learn(Lesson(view[part[:54]], heights[:54], view[part[54:]], heights[54:72], 0))
    estimates = attacker.tell(view[rest])[:, 0]
    assert np.corrcoef(estimates, heights[72:])[0, 1] > 0.9
    assert abs(estimates - heights[72:]).mean() < 0.08


def test_what_was_learned_can_be_put_away_and_taken_up_again() -> None:
    attacker, _ = taught("tcn", by_size)
    assert isinstance(attacker, NetworkAttacker)
    again = create_attacker("tcn", FRAMES, SETTINGS, 5)
    assert isinstance(again, NetworkAttacker)
    again.restore(attacker.state(), 2)
    view = seen(by_size, np.arange(10) % 2, 3)
    assert np.array_equal(again.tell(view), attacker.tell(view))


def test_the_same_seed_learns_the_same() -> None:
    view = seen(by_rhythm, np.arange(10) % 2, 3)
    short = SETTINGS.model_copy(update={"max_epochs": 3})
    one, other = (taught("window", by_rhythm, short)[0].tell(view) for _ in range(2))
    assert np.array_equal(one, other)
