"""Azure Kinect through the real pykinect_azure, against stand-ins of its libraries that serve scripts (tests/k4a/)."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from azure_stand_in import (
    ACTIONS,
    NEEDS,
    PERIOD_USEC,
    SERIAL,
    Cameras,
    Steps,
    faulty,
    persons,
    steps,
    write_script,
)
from live_frames import LONG_S, read
from numpy.typing import NDArray

from skelanon.configs import PublishSettings
from skelanon.sensors.azure_joints import KINECT_FROM_AZURE
from skelanon.sensors.errors import EndOfRecording, RecordingError, SensorError
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import INDEX
from skelanon.stream.node import Node
from skelanon.stream.subscriber import Subscriber

pytestmark = NEEDS

FACING_MM = {
    "PELVIS": (0, 0), "HEAD": (0, -600), "SHOULDER_LEFT": (180, -480), "HAND_LEFT": (215, 120), "ANKLE_LEFT": (90, 850),
    "SHOULDER_RIGHT": (-180, -480), "HAND_RIGHT": (-235, -1080), "ANKLE_RIGHT": (-90, 850),
}  # fmt: skip
"""Who faces the camera, with the right hand raised."""


def converted(step: Any, bodies: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What must come out for some bodies of a step, worked out joint by joint."""
    joints = np.empty((len(bodies), 25, 3), np.float32)
    tracking = np.empty((len(bodies), 25), np.uint8)
    for row, body in enumerate(bodies):
        for to, source in enumerate(KINECT_FROM_AZURE):
            joint = step["body"][body]["joints"][source]
            x, y, z = joint["position"]
            joints[row, to] = -x / np.float32(1000), -y / np.float32(1000), z / np.float32(1000)
            tracking[row, to] = (0, 1, 2, 2)[joint["confidence"]]
    return joints, tracking


def check(frame: BodyFrame, step: Any, bodies: Sequence[int] | None = None) -> None:
    expected = range(step["bodies"]) if bodies is None else bodies
    joints, tracking = converted(step, expected)
    assert frame.joints.tobytes() == joints.tobytes()
    assert frame.tracking.tobytes() == tracking.tobytes()
    assert frame.track_ids == tuple(step["body"]["id"][list(expected)].tolist())


def test_joints_arrive_bit_for_bit_whatever_the_bodies_do(cameras: Cameras) -> None:
    script = steps(40, bodies=3)
    script["bodies"] = np.random.default_rng(1).integers(0, 4, 40)  # an empty room, too
    script["bodies"][[7, 8, 9]] = 3
    script["body"]["id"][7] = (4, 0xFFFFFFFF, 5)  # one has no id
    script["body"]["id"][8] = (6, 6, 4)  # two have the same
    script["body"]["id"][9] = (0xFFFFFFFE, 5, 0)  # an id comes back for another body
    script["body"]["joints"]["position"][9, 0, 3] = (-0.0, np.inf, np.nan)
    for number, action in {12: "capture without depth", 13: "tracker times out", 14: "no capture"}.items():
        script["action"][number], script["amount"][number] = ACTIONS.index(action), 2
    script["usec"][20:] -= 600_000  # the device's clock is set back
    cameras.plug(0, script)
    before_ns = time.time_ns()
    with cameras.sensor() as sensor:
        frames = dict(zip([number for number in range(40) if number not in (12, 14)], read(sensor, 38), strict=True))
        after_ns = time.time_ns()
    for number, frame in frames.items():
        check(frame, script[number], {7: [0, 2], 8: [0, 2]}.get(number))
    assert [number for number, frame in frames.items() if frame.discontinuity] == [0, 20]
    assert all(before_ns - 10**9 <= frame.captured_ns <= after_ns for frame in frames.values())


@pytest.mark.parametrize("live", [True, False], ids=["camera", "recording"])
def test_a_raised_right_hand_is_the_right_hand(live: bool, cameras: Cameras, tmp_path: Path) -> None:
    """As Microsoft has it: K4ABT_JOINT_HAND_RIGHT in millimetres, x to the right of the picture, y down."""
    package = Path(str(find_spec("pykinect_azure").submodule_search_locations[0]))  # type: ignore[union-attr,index]
    declared = (package / "k4abt" / "_k4abtTypes.py").read_text("utf-8")
    numbers = {name: int(number) for name, number in re.findall(r"^K4ABT_JOINT_([A-Z_]+) = (\d+)", declared, re.M)}
    script = steps(1, bodies=1)
    position = script["body"]["joints"]["position"][0, 0]
    for name, (x, y) in FACING_MM.items():
        position[numbers[name]] = x, y, 2500
    cameras.plug(0, script)
    write_script(tmp_path / "a.mkv", script)
    with cameras.sensor() if live else cameras.sensor(file=str(tmp_path / "a.mkv")) as sensor:
        ((joints,),) = (frame.joints for frame in read(sensor))
    place = {name: joints[INDEX[name]] for name in INDEX}
    assert place["HandRight"][1] > place["Head"][1] > place["SpineBase"][1] > place["HandLeft"][1]
    assert place["ShoulderLeft"][0] < 0 < place["ShoulderRight"][0]  # who faces the camera
    assert place["Head"][1] - place["AnkleLeft"][1] == pytest.approx(1.45)
    assert {float(z) for _, _, z in (place[name] for name in ("Head", "HandRight", "AnkleLeft"))} == {2.5}


def test_settings_reach_the_libraries_and_the_camera_is_let_go(cameras: Cameras, tmp_path: Path) -> None:
    cameras.plug(0, steps(1))
    (model := tmp_path / "lite.onnx").touch()
    with cameras.sensor(
        depth_mode="wfov_unbinned", rate_hz=15, processing="tensorrt", gpu=1, tracker_model=str(model), smoothing=0.25
    ) as sensor:
        assert sensor.period_s == 1 / 15
        read(sensor)
    assert cameras.calls() == [
        f"tracker depth 4 processing 3 gpu 1 model {model}", "smoothing 0.25", "start depth 4 fps 1 color 0",
        "destroy tracker", "close",
    ]  # fmt: skip


def test_two_cameras_at_once_do_not_mix(cameras: Cameras) -> None:
    scripts = {"0001": steps(300, bodies=1, seed=1), "0002": steps(300, bodies=2, seed=2)}
    for number, (serial, script) in enumerate(scripts.items()):
        cameras.plug(number, script, serial=serial)
    # Both ask all cameras for their serial numbers at the same time.
    with cameras.sensor(serial="0002") as second, cameras.sensor(serial="0001") as first:
        for number in range(300):
            for sensor, serial in ((first, "0001"), (second, "0002")):
                check(read(sensor)[0], scripts[serial][number])


def test_a_camera_may_be_unplugged_and_plugged_in_again(cameras: Cameras) -> None:
    script = persons(50, 1)
    cameras.plug(0, script, loop=True)
    sensor = cameras.sensor()
    sensor.open()
    read(sensor)
    cameras.unplug(0)
    with pytest.raises(SensorError, match="the camera was lost: check its USB 3 cable"):
        read(sensor, 1000)
    sensor.open()
    with pytest.raises(SensorError, match="no camera is connected"):
        read(sensor)
    cameras.plug(0, script)
    sensor.open()
    frames = read(sensor, 50)
    for frame, step in zip(frames, script, strict=True):
        check(frame, step)
    assert [frame.discontinuity for frame in frames] == [True] + [False] * 49
    sensor.close()
    sensor.close()
    with pytest.raises(SensorError, match="call open"):
        sensor.read(timeout_ms=0)


def test_what_cannot_be_opened_is_told_apart(cameras: Cameras) -> None:
    cameras.plug(0, steps(1))
    for settings, words in (
        ({"device": 1}, "fewer cameras are connected than `device` counts"),
        ({"serial": "000739291113"}, "no connected camera that is free has the `serial` given"),
        ({"tracker_model": "/nowhere/model.onnx"}, "the body tracker does not start: check `processing`"),
    ):
        with cameras.sensor(**settings) as sensor, pytest.raises(SensorError, match=words) as caught:
            read(sensor)
        assert not set(settings.values()) & set(str(caught.value).split())
    with cameras.sensor() as first:
        read(first)
        with cameras.sensor() as second, pytest.raises(SensorError, match="cannot be opened: end other programs"):
            read(second)


def test_a_process_that_leaks_is_replaced_and_that_is_no_fault(
    cameras: Cameras, caplog: pytest.LogCaptureFixture
) -> None:
    script = persons(200, 1)
    script["action"][:10], script["amount"][:10] = ACTIONS.index("leak"), 50
    cameras.plug(0, script, loop=True)
    with cameras.sensor(memory_limit_mb=500) as sensor:
        read(sensor)
        cameras.plug(0, another := persons(50, 2), loop=True)
        deadline = time.monotonic() + LONG_S
        while "more than `memory_limit_mb` and is being replaced" not in caplog.text and time.monotonic() < deadline:
            (frame,) = read(sensor)
        assert frame.discontinuity
        check(frame, another[0])
    with cameras.sensor(memory_limit_mb=16) as sensor, pytest.raises(SensorError, match="`memory_limit_mb` from the"):
        read(sensor)


def test_reading_waits_no_longer_than_asked_and_starting_not_for_ever(cameras: Cameras) -> None:
    cameras.plug(0, steps(1))
    with cameras.sensor(start_timeout_s=0.01) as sensor:
        started = time.monotonic()
        with pytest.raises(SensorError, match=r"not ready within `start_timeout_s` \(0.01 s\)"):
            sensor.read(timeout_ms=30)
        assert time.monotonic() - started < 1.0
    with cameras.sensor() as sensor:
        started = time.monotonic()
        assert sensor.read(timeout_ms=30) is None
        assert sensor.read(timeout_ms=0) is None
        assert time.monotonic() - started < 1.0


def test_the_process_does_not_outlive_the_daemon(cameras: Cameras) -> None:
    cameras.plug(0, faulty("hang"))
    script = (
        "import sys, time\n"
        "from skelanon.configs.schema import AzureKinectSettings\n"
        "from skelanon.sensors.factory import create_sensor\n"
        "settings = AzureKinectSettings(kind='azure_kinect', libraries=sys.argv[1], serial=sys.stdin.readline())\n"
        "sensor = create_sensor(settings)\n"
        "sensor.open()\n"
        "while sensor.read(100) is None:\n    pass\n"
        "sys.stdout.write('.')\nsys.stdout.flush()\ntime.sleep(600)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, cameras.libraries], **pipes) as daemon:  # type: ignore[call-overload]
        daemon.stdin.write(SERIAL.encode())
        daemon.stdin.close()
        daemon.stdout.read(1)
        children = psutil.Process(daemon.pid).children()
        assert len(children) == 1
        assert SERIAL not in " ".join(children[0].cmdline())
        daemon.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=LONG_S)[1] == []


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "paced"])
def test_a_recording_plays_to_its_end(fast: bool, cameras: Cameras, tmp_path: Path) -> None:
    script = steps(30)
    write_script(tmp_path / "a.mkv", script)
    with cameras.sensor(file=str(tmp_path / "a.mkv"), fast=fast) as sensor:
        assert sensor.lossless is fast
        frames = read(sensor, 30)
        for _ in range(2):
            with pytest.raises(EndOfRecording):
                read(sensor)
    for frame, step in zip(frames, script, strict=True):
        check(frame, step)
    if not fast:
        assert frames[-1].captured_ns - frames[0].captured_ns > 0.9 * 29 * PERIOD_USEC * 1000
    assert "close playback" in cameras.calls()


def test_a_damaged_recording_is_played_up_to_there(cameras: Cameras, tmp_path: Path) -> None:
    write_script(tmp_path / "P042.mkv", faulty("lost"))
    with cameras.sensor(file=str(tmp_path / "P042.mkv"), fast=True) as sensor:
        read(sensor, 20)
        with pytest.raises(RecordingError, match="`file` is damaged"):
            read(sensor)
        with pytest.raises(EndOfRecording):
            read(sensor)
    with (
        cameras.sensor(file=str(tmp_path / "P043.mkv")) as sensor,
        pytest.raises(SensorError, match="`file` cannot be"),
    ):
        read(sensor)


FAULTS: dict[str, tuple[Steps, dict[str, float], str]] = {  # a script, settings, and what the operator is told
    "lost": (faulty("lost"), {}, "the camera was lost"),
    "aborts": (faulty("abort"), {}, f"the camera's process ended by signal {signal.SIGABRT.value}"),
    "exits": (faulty("exit"), {}, "the camera's process ended with exit code 3"),
    "hangs": (faulty("hang"), {"hang_timeout_s": 1.0}, "no sign of life for 1 s"),
    "tracker-hangs": (faulty("tracker hangs"), {"hang_timeout_s": 1.0}, "no sign of life for 1 s"),
    "tracker-fails": (faulty("tracker fails"), {}, "the body tracker failed"),
    "no-images": (faulty("capture without depth", count=99), {"frame_timeout_s": 0.5}, "has sent no usable image"),
    "no-results": (faulty("tracker times out", amount=99), {"frame_timeout_s": 0.5}, "tracker has given no result"),
}


def test_a_daemon_lives_through_every_fault_and_recovers(
    cameras: Cameras,
    ipc: str,
    scripted_runner: Callable[..., Any],
    run_node: Callable[[Callable[[], Node]], AbstractContextManager[Node]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All faults at once, each at a camera of its own; in their midst a sound camera, and one in an empty room."""
    scripts = {"sound": persons(50, 1), "empty": steps(50, bodies=0, pause_ms=10)}
    scripts |= {stream: script for stream, (script, _, _) in FAULTS.items()}
    sensors = {}
    for number, (stream, script) in enumerate(scripts.items()):
        cameras.plug(number, script, loop=stream not in FAULTS)
        sensors[stream] = cameras.sensor(device=number, **(FAULTS[stream][1] if stream in FAULTS else {}))
    states: dict[str, list[str]] = {stream: [] for stream in sensors}
    faults = dict(FAULTS)  # those that are still to come
    deadline = time.monotonic() + LONG_S

    def make() -> Node:
        return Node(sensors, scripted_runner(), PublishSettings(endpoint=ipc))

    def told(stream: str) -> str:
        return " ".join(text for text in caplog.messages if text.startswith(f"sensor {stream}: "))

    with run_node(make), Subscriber(ipc) as subscriber:
        while time.monotonic() < deadline and not all(states[stream][-1:] == ["recovered"] for stream in FAULTS):
            if (frame := subscriber.read(timeout_ms=100)) is not None:
                state = ("", "bodies", "recovered")[len(frame.ids)] or frame.state
                if states[frame.stream][-1:] != [state]:
                    states[frame.stream].append(state)
            for stream in [stream for stream, (_, _, words) in faults.items() if words in told(stream)]:
                del faults[stream]  # it ends: the next process finds two persons before a sound camera
                cameras.plug(list(scripts).index(stream), persons(50, 1, bodies=2), loop=True)
    assert {tuple(states[stream][-3:]) for stream in FAULTS} == {("bodies", "fault", "recovered")}
    assert told("sound") == told("empty") == ""
    assert (states["sound"][-1], states["empty"][-1]) == ("bodies", "empty")
    assert SERIAL not in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thousands_of_frames_leave_nothing_behind(cameras: Cameras) -> None:
    frames = int(os.environ.get("SKELANON_SOAK_FRAMES", "5000"))
    cameras.plug(0, steps(1000), loop=True)
    with cameras.sensor() as sensor:
        read(sensor, 1000)
        daemon = psutil.Process()
        (child,) = (found for found in daemon.children() if "skelanon.sensors.azure_kinect.child" in found.cmdline())
        before = [(each.memory_info().rss, each.num_fds(), each.num_threads()) for each in (daemon, child)]
        for _ in range(frames // 1000):  # not all of them in one list
            read(sensor, 1000)
        after = [(each.memory_info().rss, each.num_fds(), each.num_threads()) for each in (daemon, child)]
    logging.getLogger(__name__).info("memory, files, threads of daemon and child: %s, then %s", before, after)
    for (memory, files, threads), (memory_then, files_then, threads_then) in zip(before, after, strict=True):
        assert (files_then, threads_then) == (files, threads)
        assert memory_then - memory < 8 << 20
    assert not child.is_running()
