"""Real recordings of every kind that is here: persons, the right way round, of human proportions."""

from pathlib import Path

import numpy as np
import pytest

from skelanon.sensors.frame import Joints
from skelanon.sensors.joints import INDEX, PARENTS
from skelanon.sensors.recording import Recording
from skelanon.sensors.recordings import read_recording, recording_files

AZURE = "azure_kinect/azure_positions.csv"
WAVE = "kinect_v2_csv/Ges01_wavehand.csv"
REAL = (
    AZURE, WAVE, "kinect_v2_csv/Ges04_comehere.csv", "utd_mhad/a3_s1_t1_skeleton.mat",
    "ntu/S001C001P001R001A001.skeleton", "ntu/S002C001P003R001A003.skeleton",
)  # fmt: skip
every_recording = pytest.mark.parametrize("name", REAL)


def place(joints: Joints, joint: str) -> Joints:
    return joints[:, INDEX[joint]]


def length_m(recording: Recording, joint: str) -> float:
    """Median length of the bone that ends at a joint."""
    bone = recording.joints[:, INDEX[joint]] - recording.joints[:, PARENTS[INDEX[joint]]]
    return float(np.median(np.linalg.norm(bone, axis=1)))


@every_recording
def test_bones_are_as_long_as_a_persons(data: Path, name: str) -> None:
    recording = read_recording(data / name)
    ranges = {"Elbow": (0.18, 0.40), "Wrist": (0.16, 0.35), "Knee": (0.28, 0.55), "Ankle": (0.28, 0.55)}
    for bone, (least, most) in ranges.items():
        left, right = (length_m(recording, bone + side) for side in ("Left", "Right"))
        assert least < left < most
        assert least < right < most
        assert abs(left - right) < 0.06
    trunk = sum(length_m(recording, joint) for joint in ("SpineMid", "SpineShoulder"))
    assert 0.3 < trunk < 0.7
    assert 0.2 < length_m(recording, "ShoulderLeft") + length_m(recording, "ShoulderRight") < 0.6


@every_recording
def test_a_person_is_upright_in_front_of_the_sensor_and_not_mirrored(data: Path, name: str) -> None:
    joints = read_recording(data / name).joints
    head, hips, left, right = (place(joints, joint) for joint in ("Head", "SpineBase", "AnkleLeft", "AnkleRight"))
    assert np.mean(head[:, 1] > left[:, 1] + 0.5) > 0.95  # one of them bends down
    assert np.mean(head[:, 1] > hips[:, 1]) > 0.9
    assert ((hips[:, 2] > 1) & (hips[:, 2] < 5)).all()
    # Whoever has his left on the left side has his toes where up x (left to right) points; a mirrored person, behind.
    across = place(joints, "HipRight") - place(joints, "HipLeft")
    ahead = np.cross((0.0, 1.0, 0.0), across)
    toes = place(joints, "FootLeft") + place(joints, "FootRight") - left - right
    assert np.mean((ahead * toes).sum(axis=1) > 0) > 0.9


@pytest.mark.parametrize("name", [WAVE, "utd_mhad/a3_s1_t1_skeleton.mat"])
def test_who_waves_with_the_right_hand_waves_with_the_right_hand(data: Path, name: str) -> None:
    joints = read_recording(data / name).joints
    moved = {side: np.ptp(place(joints, f"Hand{side}")[:, 1]) for side in ("Left", "Right")}
    assert moved["Right"] > 0.5 > 5 * moved["Left"]


def test_each_folder_is_read_whole(data: Path) -> None:
    for folder, files in {"azure_kinect": 1, "kinect_v2_csv": 2, "ntu": 10}.items():  # orientations hold no joints
        paths = recording_files(data / folder)
        assert len(paths) == files
        assert [read_recording(path).left_out for path in paths] == [0] * files
    assert len(recording_files(data / "utd_mhad")) == 861


@pytest.mark.parametrize(("name", "frames", "step_ms"), [(AZURE, 1105, 33.33), (WAVE, 154, 33.0)])
def test_native_times_are_those_of_thirty_frames_a_second(data: Path, name: str, frames: int, step_ms: float) -> None:
    recording = read_recording(data / name)
    assert len(recording) == frames
    steps = [recording.step_ns(index) for index in range(1, frames)]
    assert None not in steps
    assert np.median([step for step in steps if step]) / 1e6 == pytest.approx(step_ms, abs=0.01)
