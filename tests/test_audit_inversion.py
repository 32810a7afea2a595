"""Inversion: what can be turned back is, what is gone stays gone, and nothing that is tried is learned from."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("sklearn", reason="needs skelanon[train]")

import torch
from numpy.typing import NDArray

from skelanon.audit.attackers.attacker import Scores
from skelanon.audit.exam import Exam
from skelanon.audit.inversion import invert
from skelanon.audit.results import Inversion
from skelanon.audit.view import View
from skelanon.configs.auditing import AttackerSettings, TaskSettings
from skelanon.configs.training import SplitSettings
from skelanon.sensors.body import ancestor_matrix, bone_lengths, difference_matrix, rest_directions
from skelanon.sensors.joints import BONES, INDEX

Floats = NDArray[np.float32]

PERSONS, EACH, FRAMES = 4, 10, 8
COUNT = PERSONS * EACH
WHOSE = np.repeat(np.arange(PERSONS), EACH)
TRIAL = np.tile(np.arange(EACH), PERSONS)
LEARN, VALIDATE, TEST = (np.flatnonzero(part) for part in (TRIAL < 6, (TRIAL >= 6) & (TRIAL < 8), TRIAL >= 8))
SIZES = np.array([0.85, 0.95, 1.05, 1.15])
SETTINGS = AttackerSettings(families=["tcn"], seeds=[0], max_epochs=3, patience=2, batch_size=8)
EXAM = Exam(
    task=TaskSettings(name="identity", label="subject", split=SplitSettings(by="trial", test=[8, 9])),
    learn=LEARN,
    validate=VALIDATE,
    test=TEST,
    targets=WHOSE,
    classes=tuple(range(PERSONS)),
    persons=WHOSE,
    duplicates=0,
    unseen=0,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def raw_view(seed: int = 0) -> View:
    """Bodies of four sizes, whose bones sway."""
    rng = np.random.default_rng(seed)
    sway = rng.normal(0, 0.1, (COUNT, FRAMES, 25, 3))
    directions = rest_directions() + sway * (bone_lengths() > 0)[:, None]
    directions /= np.maximum(np.linalg.norm(directions, axis=3, keepdims=True), 1e-9)
    bones = directions * bone_lengths()[:, None] * SIZES[WHOSE][:, None, None, None]
    joints = ancestor_matrix() @ bones
    joints -= joints[:, :, [INDEX["SpineMid"]]]
    return View(joints.astype(np.float32), rng.normal(0, 0.3, (COUNT, FRAMES, 3)).astype(np.float32))


def turned(raw: View) -> View:
    """A release that can be turned back: rotated, larger, moved."""
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return View((1.5 * raw.faced @ rotation + 0.2).astype(np.float32), raw.place + np.float32(1))


def constant(raw: View) -> View:
    same = np.repeat(raw.faced[:1, :1], COUNT, 0).repeat(FRAMES, 1)
    return View(same, np.zeros_like(raw.place))


def lengths(faced: Floats) -> NDArray[np.float64]:
    bones: NDArray[np.float64] = np.linalg.norm(difference_matrix()[list(BONES)] @ faced, axis=3).mean(1)
    return bones


class Teller:
    """Tells a person by the size of the body; remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[View] = []

    def __call__(self, view: View) -> Scores:
        self.seen.append(view)
        size = (lengths(view.faced) / bone_lengths()[list(BONES)]).mean(1)
        scores: Scores = -np.abs(size[:, None] - SIZES).astype(np.float32)
        return scores


def inverted(raw: View, released: View, measured: tuple[bool, ...] = (True,) * 25) -> tuple[Inversion, View]:
    teller = Teller()
    found = invert("some", raw, released, EXAM, teller, measured, SETTINGS, 0)
    (view,) = teller.seen
    return found, view


def test_a_turn_and_a_scale_are_undone() -> None:
    raw = raw_view()
    released = turned(raw)
    found, view = inverted(raw, released)
    assert (found.release, found.task) == ("some", "identity")
    assert found.mpjpe_m < 0.005
    assert found.mpjpe_m == pytest.approx(np.linalg.norm(view.faced - raw.faced[TEST], axis=3).mean(), rel=1e-4)
    moved = np.linalg.norm(released.faced[TEST] - raw.faced[TEST], axis=3).mean()
    assert found.mpjpe_released_m == pytest.approx(moved, rel=1e-4)
    assert found.bone_error_m < 0.1 * found.bone_error_guess_m
    assert found.bone_error_m == pytest.approx(np.abs(lengths(view.faced) - lengths(raw.faced[TEST])).mean(), rel=1e-3)
    assert found.read_again == 1
    assert found.interval == (1, 1)
    np.testing.assert_array_equal(view.place, released.place[TEST])


def test_what_is_gone_stays_gone() -> None:
    """Who sees the same of everybody can but guess."""
    raw = raw_view()
    found, _ = inverted(raw, constant(raw))
    guess = np.abs(lengths(raw.faced[TEST]) - lengths(raw.faced[LEARN]).mean(0)).mean()
    assert found.bone_error_guess_m == pytest.approx(guess, rel=1e-4)
    assert 0.85 < found.bone_error_m / found.bone_error_guess_m < 1.3
    assert found.read_again == 1 / PERSONS
    assert found.mpjpe_m > 0.02


def test_the_guess_counts_persons_alike() -> None:
    """However many sequences of each there are."""
    raw = raw_view()
    uneven = np.flatnonzero((TRIAL < 6) & ((WHOSE == 0) | (TRIAL == 0)))
    exam = Exam(EXAM.task, uneven, VALIDATE, TEST, WHOSE, EXAM.classes, WHOSE, 0, 0)
    found = invert("some", raw, constant(raw), exam, Teller(), (True,) * 25, SETTINGS, 0)
    of_learned = lengths(raw.faced[uneven])
    guess = np.mean([of_learned[WHOSE[uneven] == person].mean(0) for person in range(PERSONS)], 0)
    assert found.bone_error_guess_m == pytest.approx(np.abs(guess - lengths(raw.faced[TEST])).mean(), rel=1e-4)


def test_nothing_that_is_tried_is_learned_from() -> None:
    """Other raw skeletons behind the sequences tried change nothing of what is made of them."""
    raw = raw_view()
    released = turned(raw)
    changed = raw.faced.copy()
    changed[TEST] = raw_view(seed=1).faced[TEST[::-1]]
    found, view = inverted(raw, released)
    other, same = inverted(View(changed, raw.place), released)
    np.testing.assert_array_equal(view.faced, same.faced)
    assert other.mpjpe_m > found.mpjpe_m
    changed[LEARN] *= np.float32(1.1)
    _, larger = inverted(View(changed, raw.place), released)
    assert np.abs(larger.faced - view.faced).max() > 0.01  # what is learned from does change it


def test_joints_that_no_sensor_gave_do_not_count() -> None:
    raw = raw_view()
    measured = tuple(joint != INDEX["Head"] for joint in range(25))
    released = turned(raw)
    spoilt = raw.faced.copy()
    spoilt[TEST, :, INDEX["Head"]] += np.float32(5)
    found, _ = inverted(raw, released, measured)
    same, _ = inverted(View(spoilt, raw.place), released, measured)
    assert (same.mpjpe_m, same.mpjpe_released_m) == pytest.approx((found.mpjpe_m, found.mpjpe_released_m))
    assert (same.bone_error_m, same.bone_error_guess_m) == pytest.approx((found.bone_error_m, found.bone_error_guess_m))


def test_frames_in_which_nobody_was_published_do_not_count_and_stay_empty() -> None:
    raw = raw_view()
    released = turned(raw)
    released.faced[::3] = 0  # whole sequences, of those learned from and of those tried
    found, view = inverted(raw, released)
    empty = TEST % 3 == 0
    assert (view.faced[empty] == 0).all()
    assert (view.faced[~empty] != 0).any((2, 3)).all()
    assert found.mpjpe_m < 0.005
    assert found.bone_error_m < 0.1 * found.bone_error_guess_m


def test_a_release_of_nobody_gives_nothing_back() -> None:
    raw = raw_view()
    found, view = inverted(raw, View(np.zeros_like(raw.faced), np.zeros_like(raw.place)))
    assert (view.faced == 0).all()
    assert np.isnan([found.mpjpe_m, found.mpjpe_released_m, found.bone_error_m, found.bone_error_guess_m]).all()
    assert found.read_again == 1 / PERSONS


def test_a_number_is_read_again_as_a_number() -> None:
    """Stature: R2, not accuracy."""
    raw = raw_view()
    stature = SIZES[WHOSE] * 1.7
    exam = Exam(EXAM.task, LEARN, VALIDATE, TEST, stature, (), WHOSE, 0, 0)

    def tell(view: View) -> Scores:
        size = (lengths(view.faced) / bone_lengths()[list(BONES)]).mean(1)
        estimates: Scores = (1.7 * size[:, None]).astype(np.float32)
        return estimates

    found = invert("some", raw, turned(raw), exam, tell, (True,) * 25, SETTINGS, 0)
    assert 0.95 < found.read_again <= 1
    assert found.interval.low <= found.read_again <= found.interval.high
