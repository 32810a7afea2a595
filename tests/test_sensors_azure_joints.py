"""From the 32 joints of Azure Kinect to the 25 of Kinect v2: which is which, axes, units, and a real person."""

import csv
from pathlib import Path

import numpy as np
import pytest

from skelanon.sensors.azure_joints import (
    AZURE_JOINT_NAMES,
    AZURE_JOINTS,
    KINECT_FROM_AZURE,
    to_kinect25,
    tracking_of,
)
from skelanon.sensors.body import bone_lengths
from skelanon.sensors.joints import BONES, INDEX, JOINT_NAMES, PARENTS

AZURE = {name: number for number, name in enumerate(AZURE_JOINT_NAMES)}
FACING_MM = {
    "PELVIS": (0, 0), "SPINE_NAVEL": (0, -180), "SPINE_CHEST": (0, -320), "NECK": (0, -520), "HEAD": (0, -600),
    "SHOULDER_LEFT": (180, -480), "ELBOW_LEFT": (200, -200), "WRIST_LEFT": (210, 40), "HAND_LEFT": (215, 120),
    "SHOULDER_RIGHT": (-180, -480), "ELBOW_RIGHT": (-220, -760), "WRIST_RIGHT": (-230, -1000),
    "HAND_RIGHT": (-235, -1080), "ANKLE_LEFT": (90, 850), "ANKLE_RIGHT": (-90, 850),
}  # fmt: skip
"""Who faces the camera, 2 m away, with the right hand raised: x to the right of the picture, y down."""


def test_a_raised_right_hand_is_the_right_hand_above_the_head() -> None:
    positions = np.full((AZURE_JOINTS, 3), 2000.0, np.float32)
    for name, (x, y) in FACING_MM.items():
        positions[AZURE[name]] = x, y, 2000
    joints = dict(zip(JOINT_NAMES, to_kinect25(positions).tolist(), strict=True))
    right, left, head = joints["HandRight"], joints["HandLeft"], joints["Head"]
    np.testing.assert_allclose(right, (0.235, 1.08, 2.0), atol=1e-6)
    assert right[1] > head[1] > joints["SpineBase"][1] > left[1] > joints["AnkleLeft"][1]
    # As Kinect v2 sees who faces it (FACTS of its axes: x to the sensor's left).
    assert joints["ShoulderLeft"][0] < 0 < joints["ShoulderRight"][0]


def test_each_joint_is_the_one_of_the_same_name() -> None:
    approximated = {"SpineBase": "PELVIS", "SpineMid": "SPINE_NAVEL", "SpineShoulder": "SPINE_CHEST"}
    for name, source in zip(JOINT_NAMES, KINECT_FROM_AZURE, strict=True):
        same = [azure for azure in AZURE_JOINT_NAMES if sorted(azure.replace("_", "")) == sorted(name.upper())]
        assert AZURE_JOINT_NAMES[source] == approximated.get(name, *same)
        assert AZURE_JOINT_NAMES[source].endswith("_LEFT") == name.endswith("Left")


def test_many_bodies_are_converted_as_one_is_and_nothing_is_lost_in_precision() -> None:
    positions = np.random.default_rng(0).normal(0, 3000, (4, 2, AZURE_JOINTS, 3)).astype(np.float32)
    joints = to_kinect25(positions)
    assert joints.dtype == np.float32
    assert joints.flags.c_contiguous
    np.testing.assert_array_equal(joints[3, 1], to_kinect25(positions[3, 1].tolist()))
    exact = positions.astype(np.float64)[..., KINECT_FROM_AZURE, :] * (-1, -1, 1) / 1000
    np.testing.assert_array_equal(joints, exact.astype(np.float32))  # one rounding, the same


def test_confidence_becomes_a_tracking_state() -> None:
    confidence = np.zeros((2, AZURE_JOINTS), np.int32)
    confidence[1, [AZURE["PELVIS"], AZURE["HEAD"], AZURE["NECK"]]] = 1, 2, 3
    confidence[1, AZURE["NOSE"]] = 2  # has no counterpart
    confidence[1, [AZURE["HAND_LEFT"], AZURE["HAND_RIGHT"]]] = 4, -1  # are no levels
    tracking = tracking_of(confidence)
    assert tracking.dtype == np.uint8
    assert not tracking[0].any()
    assert {JOINT_NAMES[joint]: state for joint, state in enumerate(tracking[1].tolist()) if state} == {
        "SpineBase": 1, "Head": 2, "Neck": 2,
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(32,), (25, 3), (32, 4), (2, 3, 32)])
def test_another_number_of_joints_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(..., 32, 3\), not"):
        to_kinect25(np.zeros(shape))
    with pytest.raises(ValueError, match=r"must be \(..., 32\), not \(25,\)"):
        tracking_of(np.zeros(25, np.int32))


def test_a_real_recording_is_a_human_being_the_right_way_up(data: Path) -> None:
    with (data / "azure_kinect" / "azure_positions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    joints = to_kinect25(
        [[[float(row[f"{name} ({axis})"]) for axis in "xyz"] for name in AZURE_JOINT_NAMES] for row in rows]
    )  # (F, 25, 3)
    lengths = np.median(np.linalg.norm(joints - joints[:, PARENTS], axis=-1), axis=0)  # (25,)
    ratio = lengths / np.maximum(bone_lengths(), 1e-9)
    # Limbs as an average body's, by a third; torso and head are cut elsewhere than Kinect v2 does, hands are short.
    limbs = [INDEX[f"{name}{side}"] for name in ("Elbow", "Wrist", "Knee", "Ankle") for side in ("Left", "Right")]
    assert (np.abs(ratio[limbs] - 1) < 0.35).all()
    assert ((lengths > 0.02) & (lengths < 0.6))[list(BONES)].all()
    for name in ("Elbow", "Wrist", "Knee", "Ankle", "Foot", "Shoulder", "Hip"):
        assert lengths[INDEX[f"{name}Left"]] == pytest.approx(lengths[INDEX[f"{name}Right"]], rel=0.15)
    height = np.median(joints[..., 1], axis=0)
    upwards = [INDEX[n] for n in ("AnkleLeft", "KneeLeft", "SpineBase", "SpineMid", "SpineShoulder", "Neck", "Head")]
    assert (np.diff(height[upwards]) > 0.02).all()
    chain = ("AnkleLeft", "KneeLeft", "SpineMid", "SpineShoulder", "Neck", "Head")
    assert 1.35 < sum(lengths[INDEX[name]] for name in chain) < 1.85  # from the ankle to the middle of the head
    assert 0.5 < np.median(joints[..., 2]) < 6
