"""Kinect v2 through the real pykinect2 and comtypes, on Linux: on a stand-in of Kinect20.dll (tests/kinect_v2/)."""

import re
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from kinect_stand_in import NEEDS, PERIOD_TICKS, Kinect, faulty, steps
from live_frames import read
from pydantic import ValidationError

from skelanon.configs import check as check_settings
from skelanon.configs.schema import KinectV2Settings
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.errors import SensorError
from skelanon.sensors.factory import create_sensor
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import INDEX
from skelanon.sensors.kinect_v2.problems import MESSAGES, Problem

pytestmark = NEEDS


def check(frame: BodyFrame, step: Any) -> None:
    """Joint by joint, in the order of the places, empty ones left out."""
    bodies = [body for body in step["bodies"] if body["tracked"]]
    assert frame.track_ids == tuple(int(body["id"]) for body in bodies)
    for row, body in enumerate(bodies):
        for joint in range(25):
            _, position, state = body["joints"][joint].tolist()
            assert frame.joints[row, joint].tobytes() == np.array(position, np.float32).tobytes()
            assert frame.tracking[row, joint] == (state if state in (0, 1, 2) else 0)


def test_joints_arrive_bit_for_bit_whatever_the_bodies_do(kinect: Kinect) -> None:
    script = np.concatenate([steps(5, bodies=bodies, seed=bodies) for bodies in (2, 0, 6, 1, 3, 2)])
    script["ticks"] = 70_000_000 + PERIOD_TICKS * np.arange(30)
    script["bodies"]["joints"]["state"][3, :, :2] = (7, -1)
    script["bodies"]["joints"]["position"][12, :, 3] = (-0.0, np.inf, np.nan)
    script["bodies"]["id"][10, 0] = (1 << 64) - 1
    script["pause_ms"][[4, 9]] = 50
    script["ticks"][20:] -= 30_000_000  # the Kinect's clock is set back
    kinect.plug(script)
    before_ns = time.time_ns()
    with kinect.sensor() as sensor:
        frames = read(sensor, 30)
        after_ns = time.time_ns()
        assert sensor.read(timeout_ms=30) is None
    for frame, step in zip(frames, script, strict=True):
        check(frame, step)
    assert [number for number, frame in enumerate(frames) if frame.discontinuity] == [0, 20]
    assert all(before_ns - 10**9 <= frame.captured_ns <= after_ns for frame in frames)
    assert kinect.calls() == ["open", "close"]


def test_frames_are_as_far_apart_as_the_kinect_says(kinect: Kinect) -> None:
    script = steps(20)
    script["pause_ms"] = 33
    kinect.plug(script)
    with kinect.sensor() as sensor:
        frames = read(sensor, 20)
    assert abs(frames[-1].captured_ns - frames[0].captured_ns - 19 * PERIOD_TICKS * 100) < 20_000_000


def test_a_raised_right_hand_is_the_right_hand(kinect: Kinect) -> None:
    """As Microsoft has it: JointType_HandRight in metres, x to the sensor's left, y up."""
    declared = Path(str(find_spec("pykinect2").submodule_search_locations[0])) / "PyKinectV2.py"  # type: ignore[union-attr,index]
    numbers = dict(re.findall(r"^JointType_(\w+) = (\d+)", declared.read_text("ascii"), re.MULTILINE))
    assert {name: int(number) for name, number in numbers.items() if name != "Count"} == INDEX
    pose = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None]) + (0.2, 0.1, 2.5)
    script = steps(1, bodies=1)
    (place,) = np.flatnonzero(script["bodies"]["tracked"][0])
    script["bodies"]["joints"]["position"][0, place] = pose
    hand = pose[int(numbers["Head"])] + (0.2, 0.3, 0)
    script["bodies"]["joints"]["position"][0, place, int(numbers["HandRight"])] = hand
    kinect.plug(script)
    with kinect.sensor() as sensor:
        ((joints,),) = (frame.joints for frame in read(sensor))
    assert np.argmax(joints[:, 1]) == INDEX["HandRight"]
    assert joints[INDEX["ShoulderLeft"], 0] < joints[INDEX["ShoulderRight"], 0]  # who faces the sensor
    assert 1.2 < joints[INDEX["Head"], 1] - joints[INDEX["FootLeft"], 1] < 2.0


def test_a_kinect_may_be_plugged_in_later_crash_and_be_pulled_out(kinect: Kinect) -> None:
    sensor = kinect.sensor(frame_timeout_s=0.5)
    sensor.open()
    with pytest.raises(SensorError, match="no Kinect v2 answers: check its power supply"):
        read(sensor)
    for action, words in (
        ("abort", f"process ended by signal {signal.SIGABRT.value}"),
        ("lost", "no Kinect v2 answers"),
    ):
        kinect.plug(script := faulty(action))
        sensor.open()
        frames = read(sensor, 10)
        for frame, step in zip(frames, script, strict=False):
            check(frame, step)
        assert [frame.discontinuity for frame in frames] == [True] + [False] * 9
        with pytest.raises(SensorError, match=words):
            read(sensor)
    sensor.close()
    sensor.close()
    with pytest.raises(SensorError, match="call open"):
        sensor.read(timeout_ms=0)


@pytest.mark.parametrize(
    ("action", "settings", "words"),
    [
        ("fail", {}, "the Kinect failed"),
        ("joints fail", {}, "the Kinect failed"),
        ("pending", {"frame_timeout_s": 0.5}, "has sent no bodies, and no empty frame"),
        ("exit", {}, "process ended with exit code 3"),
        ("hang", {"hang_timeout_s": 1.0}, "no sign of life for 1 s"),
    ],
)
def test_every_fault_of_the_runtime_is_told(
    action: str, settings: dict[str, float], words: str, kinect: Kinect
) -> None:
    kinect.plug(faulty(action))
    with kinect.sensor(**settings) as sensor:
        read(sensor, 10)
        with pytest.raises(SensorError, match=words):
            read(sensor)


def test_thousands_of_frames_leave_nothing_behind(kinect: Kinect) -> None:
    kinect.plug(steps(100, bodies=6), loop=True)
    with kinect.sensor() as sensor:
        read(sensor, 500)
        (child,) = (
            each for each in psutil.Process().children() if "skelanon.sensors.kinect_v2.child" in each.cmdline()
        )
        before = child.memory_info().rss, child.num_fds(), child.num_threads()
        read(sensor, 2500)
        after = child.memory_info().rss, child.num_fds(), child.num_threads()
    assert after[1:] == before[1:]
    assert after[0] - before[0] < 4 << 20
    assert kinect.calls() == ["open", "close"]  # all references given back


def test_elsewhere_than_on_windows_it_says_so() -> None:
    with create_sensor(KinectV2Settings(kind="kinect_v2")) as sensor, pytest.raises(SensorError, match="Windows only"):
        read(sensor)


def test_without_its_runtime_the_kinect_says_what_to_install(kinect: Kinect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINECT_BROKEN", "1")
    with kinect.sensor() as sensor, pytest.raises(SensorError, match="cannot be opened: check that the service"):
        read(sensor)
    monkeypatch.setenv("KINECT20", "/nowhere/Kinect20.dll")
    with kinect.sensor() as sensor, pytest.raises(SensorError, match="install the Kinect for Windows Runtime"):
        read(sensor)


def test_every_problem_has_words_of_its_own() -> None:
    assert set(MESSAGES) == set(Problem)
    assert len(set(MESSAGES.values())) == len(Problem)


def test_a_camera_is_never_fast() -> None:
    assert not create_sensor(settings := KinectV2Settings(kind="kinect_v2")).lossless
    assert settings.fast is False
    with pytest.raises(ValidationError, match="Extra inputs"):
        KinectV2Settings.model_validate({"kind": "kinect_v2", "fast": True})


def test_the_settings_in_the_documentation_load() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "sensors.md").read_text("utf-8")
    section = page[page.index("## Kinect v2") :]
    settings = check_settings(yaml.safe_load(section.split("```yaml\n")[1].split("```")[0]), "docs/sensors.md")
    (sensor,) = settings.sensors.values()
    assert isinstance(sensor, KinectV2Settings)
    assert all(f"`{name}`" in section for name in set(KinectV2Settings.model_fields) - {"kind"})
