"""A raw frame takes nothing but bodies of 25 joints, and gives nothing away."""

import copy
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest

from skelanon.sensors.frame import BodyFrame, no_bodies


def frame(bodies: int = 2) -> BodyFrame:
    joints = np.full((bodies, 25, 3), 1.2345, np.float32)
    return BodyFrame(5, joints, np.full((bodies, 25), 2, np.uint8), tuple(range(77000, 77000 + bodies)))


@pytest.mark.parametrize(
    ("joints", "tracking", "ids", "message"),
    [
        (np.zeros((1, 24, 3), np.float32), np.zeros((1, 25), np.uint8), (1,), r"joints must be \(1, 25, 3\) float32"),
        (np.zeros((1, 25, 3), np.float64), np.zeros((1, 25), np.uint8), (1,), "joints must be"),
        (np.zeros((25, 3), np.float32), np.zeros((1, 25), np.uint8), (1,), "joints must be"),
        (np.zeros((2, 25, 3), np.float32), np.zeros((2, 25), np.uint8), (1,), "one body per track id"),
        (np.zeros((1, 25, 3), np.float32), np.zeros((1, 25), np.int64), (1,), r"tracking must be \(1, 25\) uint8"),
        (np.zeros((1, 25, 3), np.float32), np.zeros((25,), np.uint8), (1,), "tracking must be"),
        (np.zeros((2, 25, 3), np.float32), np.zeros((2, 25), np.uint8), (7, 7), "track ids must differ"),
    ],
)
def test_refuses_other_shapes_types_and_equal_ids(
    joints: np.ndarray, tracking: np.ndarray, ids: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BodyFrame(0, joints, tracking, ids)


def test_cannot_be_sent_to_another_process_or_copied() -> None:
    with pytest.raises(TypeError, match="must not leave the process"):
        ForkingPickler.dumps(frame())
    with pytest.raises(TypeError, match="must not leave the process"):
        copy.copy(frame())


def test_shows_neither_joints_nor_track_ids() -> None:
    for shown in (repr(frame()), str(frame()), f"{frame()}", "%s" % frame()):  # noqa: UP031
        assert shown == "BodyFrame(bodies=2, captured_ns=5)"


def test_an_error_shows_no_value() -> None:
    joints = np.full((1, 25, 3), 1.2345, np.float32)
    with pytest.raises(ValueError, match="must differ") as caught:
        BodyFrame(0, joints.repeat(2, axis=0), np.zeros((2, 25), np.uint8), (77001, 77001))
    assert "1.2345" not in str(caught.value)
    assert "77001" not in str(caught.value)


def test_does_not_change() -> None:
    with pytest.raises(AttributeError):
        frame().captured_ns = 6  # type: ignore[misc]


def test_an_empty_room_has_no_bodies() -> None:
    empty = no_bodies(9, discontinuity=True)
    assert empty.joints.shape == (0, 25, 3)
    assert empty.track_ids == ()
    assert empty.discontinuity


@pytest.mark.parametrize("captured_ns", [-1, 1 << 63, 1.5, np.int64(3), True])
def test_a_time_that_the_wire_does_not_know_is_refused(captured_ns: Any) -> None:
    with pytest.raises(ValueError, match="captured_ns must be an int"):
        no_bodies(captured_ns)


def test_a_crowd_that_no_sensor_sees_is_refused() -> None:
    bodies = 65
    joints, tracking = np.zeros((bodies, 25, 3), np.float32), np.zeros((bodies, 25), np.uint8)
    with pytest.raises(ValueError, match="65 bodies; a frame has at most 64"):
        BodyFrame(0, joints, tracking, tuple(range(bodies)))
