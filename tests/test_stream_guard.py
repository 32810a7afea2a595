"""The guard: nothing raw, nothing inhuman, nothing that is not a number gets through."""

from collections.abc import Callable

import numpy as np
import pytest

from skelanon.export.runner import Floats
from skelanon.sensors.frame import BodyFrame
from skelanon.stream.guard import Guard

Frames = Callable[..., BodyFrame]


def smaller(joints: Floats) -> Floats:
    return (joints * np.float32(0.9)).astype(np.float32)


def test_an_anonymous_body_passes(body_frame: Frames) -> None:
    raw = body_frame(1, 2, 3).joints
    assert Guard(keeps_root=False).check(raw, smaller(raw)).tolist() == [True, True, True]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_withholds_its_body_alone(body_frame: Frames, value: float) -> None:
    raw = body_frame(1, 2, 3).joints
    anonymous = smaller(raw)
    anonymous[1, 13, 2] = value
    with np.errstate(all="ignore"):
        assert Guard(keeps_root=False).check(raw, anonymous).tolist() == [True, False, True]


@pytest.mark.parametrize("scale", [0.0, 0.1, 5.0, 1e30])
def test_what_is_not_human_shaped_is_withheld(body_frame: Frames, scale: float) -> None:
    raw = body_frame(1).joints
    with np.errstate(all="ignore"):
        assert Guard(keeps_root=False).check(raw, (raw * np.float32(scale)).astype(np.float32)).tolist() == [False]


def test_the_input_is_withheld(body_frame: Frames) -> None:
    raw = body_frame(1, 2).joints
    assert not Guard(keeps_root=False).check(raw, raw.copy()).any()


@pytest.mark.parametrize("joint", range(25))
def test_a_single_raw_joint_withholds_the_body(body_frame: Frames, joint: int) -> None:
    raw = body_frame(1, 2).joints
    anonymous = smaller(raw)
    anonymous[0, joint] = raw[0, joint] + np.float32(1e-6)  # through a rotation and back
    assert Guard(keeps_root=False).check(raw, anonymous).tolist() == [False, True]


def test_the_root_is_exempt_only_where_the_manifest_keeps_it(body_frame: Frames) -> None:
    raw = body_frame(1).joints
    anonymous = raw[:, :1] + smaller(raw - raw[:, :1])
    assert Guard(keeps_root=True).check(raw, anonymous).tolist() == [True]
    assert Guard(keeps_root=False).check(raw, anonymous).tolist() == [False]


def test_a_body_merely_moved_and_turned_is_withheld(body_frame: Frames) -> None:
    raw = body_frame(1).joints
    turned = np.stack([raw[..., 2], raw[..., 1], -raw[..., 0]], -1) + np.float32(0.3)
    assert not Guard(keeps_root=False).check(raw, turned.astype(np.float32)).any()


def test_anothers_raw_body_is_withheld(body_frame: Frames) -> None:
    raw = body_frame(1, 2, 3).joints
    assert not Guard(keeps_root=False).check(raw, np.roll(raw, 1, axis=0)).any()


def test_joints_of_the_input_in_another_order_are_withheld(body_frame: Frames) -> None:
    raw = body_frame(1).joints
    anonymous = smaller(raw)
    anonymous[0, 5] = raw[0, 17]
    assert not Guard(keeps_root=False).check(raw, anonymous).any()


def test_the_frame_before_is_withheld_as_from_a_stale_buffer(body_frame: Frames) -> None:
    guard = Guard(keeps_root=False)
    before, now = body_frame(1, captured_ns=1).joints, body_frame(1, captured_ns=2).joints
    assert guard.check(before, smaller(before)).all()
    assert not guard.check(now, before).any()


@pytest.mark.parametrize("disturbance", [1e-5, 3e-4])
def test_a_body_slightly_disturbed_is_withheld(body_frame: Frames, disturbance: float) -> None:
    raw = body_frame(1, 2).joints
    noise = np.random.default_rng(0).normal(0, disturbance, raw.shape)
    assert not Guard(keeps_root=False).check(raw, (raw + noise).astype(np.float32)).any()


def test_a_body_of_which_all_but_a_thumb_is_raw_is_withheld(body_frame: Frames) -> None:
    raw = body_frame(1).joints
    anonymous = raw + np.float32(1e-3)
    anonymous[0, 22] += np.float32(0.05)
    assert not Guard(keeps_root=False).check(raw, anonymous).any()


def test_a_kept_root_must_be_that_of_the_same_body(body_frame: Frames) -> None:
    raw = body_frame(1, 2).joints
    anonymous = raw[:, :1] + smaller(raw - raw[:, :1])
    assert Guard(keeps_root=True).check(raw, anonymous).all()
    assert not Guard(keeps_root=True).check(raw, anonymous[::-1]).any()


def test_it_goes_on_after_four_billion_calls(body_frame: Frames) -> None:
    raw = body_frame(1).joints
    guard = Guard(keeps_root=False)
    guard._known._call = 2**32 - 1
    for _ in range(3):
        assert guard.check(raw, smaller(raw)).all()
        assert not guard.check(raw, raw.copy()).any()


def test_thousands_of_bodies_in_one_call_are_not_taken_for_each_other(body_frame: Frames) -> None:
    """Coordinates lie on the grid of float32: a digest of three of them in simple ratios would repeat by chance."""
    noise = np.random.default_rng(0).normal(0, 0.003, (8000, 25, 3))
    raw = (body_frame(1).joints + noise).astype(np.float32)
    assert Guard(keeps_root=False).check(raw, smaller(raw)).all()


@pytest.mark.parametrize("before", [1, 3000])
def test_an_echo_is_found_among_thousands_of_bodies(body_frame: Frames, before: int) -> None:
    """Of this call or the one before it, whatever their sizes."""
    noise = np.random.default_rng(0).normal(0, 0.003, (6000, 25, 3))
    raw = (body_frame(1).joints + noise).astype(np.float32)
    earlier, later = raw[:before], raw[3000:]
    guard = Guard(keeps_root=False)
    assert guard.check(earlier, smaller(earlier)).all()
    anonymous = smaller(later)
    anonymous[17, 4] = earlier[-1, 9]
    anonymous[2500, 4] = later[1200, 9]
    good = guard.check(later, anonymous)
    assert np.flatnonzero(~good).tolist() == [17, 2500]
    good = guard.check(earlier, smaller(earlier))
    assert good.all()
