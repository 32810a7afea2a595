"""Other layouts of joints as the 25 of Kinect v2."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelanon.sensors.errors import RecordingError
from skelanon.sensors.joints import INDEX, JOINT_NAMES
from skelanon.sensors.lift import KINECT_V1, lift, measured, states

THEIRS = (
    "Head", "SpineShoulder", "SpineMid", "SpineBase",
    "ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft", "ShoulderRight", "ElbowRight", "WristRight", "HandRight",
    "HipLeft", "KneeLeft", "AnkleLeft", "FootLeft", "HipRight", "KneeRight", "AnkleRight", "FootRight",
)  # fmt: skip
"""UTD-MHAD's order in the names of Kinect v2."""
V1 = np.random.default_rng(0).normal(size=(2, 3, 20, 3))
FILLED = {"Neck", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"}


def test_kinect_v1_joints_go_where_their_names_say() -> None:
    lifted = lift(V1, KINECT_V1)
    assert lifted.shape == (2, 3, 25, 3)
    assert lifted.dtype == np.float32
    for place, name in enumerate(THEIRS):
        assert_array_equal(lifted[..., INDEX[name], :], V1[..., place, :].astype(np.float32), err_msg=name)


def test_what_kinect_v1_lacks_is_filled_in_and_is_no_evidence() -> None:
    lifted = lift(V1, KINECT_V1)
    midway = (V1[..., THEIRS.index("SpineShoulder"), :] + V1[..., THEIRS.index("Head"), :]) / 2
    assert_allclose(lifted[..., INDEX["Neck"], :], midway, atol=1e-6)
    for side in ("Left", "Right"):
        for part in ("HandTip", "Thumb"):
            assert_array_equal(lifted[..., INDEX[part + side], :], lifted[..., INDEX["Hand" + side], :])
    assert {name for name, there in zip(JOINT_NAMES, measured(KINECT_V1), strict=True) if not there} == FILLED
    tracked = states(lifted, measured(KINECT_V1))
    assert tracked.dtype == np.uint8
    assert (tracked == np.where([name in FILLED for name in JOINT_NAMES], 0, 2)).all()


def test_chains_of_missing_joints_end_at_the_nearest_one_that_is_there() -> None:
    source = list(range(25))
    for name in ("SpineShoulder", "HandLeft", "HandTipLeft", "ThumbLeft", "AnkleRight", "FootRight"):
        source[INDEX[name]] = -1
    joints = np.random.default_rng(1).normal(size=(25, 3))
    lifted = lift(joints, source)
    for name, at in (
        ("SpineShoulder", "SpineMid"), ("ThumbLeft", "WristLeft"), ("HandTipLeft", "WristLeft"),
        ("HandLeft", "WristLeft"), ("FootRight", "KneeRight"), ("Neck", "Neck"), ("ShoulderLeft", "ShoulderLeft"),
    ):  # fmt: skip
        assert_array_equal(lifted[INDEX[name]], joints[INDEX[at]].astype(np.float32), err_msg=name)


def test_nothing_is_filled_in_from_a_joint_that_is_missing() -> None:
    joints = V1[0, 0].copy()
    joints[[THEIRS.index("Head"), THEIRS.index("HandLeft")]] = 0
    lifted = lift(joints, KINECT_V1)
    gone = {"Head", "Neck", "HandLeft", "HandTipLeft", "ThumbLeft"}
    assert {name for name, joint in zip(JOINT_NAMES, lifted, strict=True) if not joint.any()} == gone
    assert {JOINT_NAMES[i] for i in np.flatnonzero(states(lifted, measured(KINECT_V1)) == 0)} == gone | FILLED
    inferred = states(lifted, measured(KINECT_V1), filled=1)
    assert {JOINT_NAMES[i] for i in np.flatnonzero(inferred == 0)} == gone
    assert {JOINT_NAMES[i] for i in np.flatnonzero(inferred == 1)} == FILLED - gone


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((*range(20), -1), "a layout is 25 indices from -1 to 19"),
        ((*range(24), 24), "a layout is 25 indices from -1 to 19"),
        ((-2, *KINECT_V1[1:]), "a layout is 25 indices from -1 to 19"),
        ((-1, *KINECT_V1[1:]), "the layout lacks SpineBase"),
    ],
)
def test_another_table_is_refused(source: tuple[int, ...], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        lift(V1, source)
