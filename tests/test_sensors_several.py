"""Sensors of every kind in one node: each publishes its own bodies, and the trouble of one is its own."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import azure_stand_in as azure
import kinect_stand_in as kinect_v2
import numpy as np
import psutil
import pytest
import yaml
from azure_stand_in import Cameras, poses
from kinect_stand_in import Kinect
from live_frames import LONG_S
from numpy.typing import NDArray

from skelanon.configs import check
from skelanon.configs.schema import SyntheticSettings
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.remote.sender import Sender
from skelanon.sensors.skeleton_writer import write_skeleton
from skelanon.sensors.synthetic import Synthetic
from skelanon.stream.node import Node, create_node
from skelanon.stream.received import ReceivedFrame
from skelanon.stream.subscriber import Event, Subscriber

pytestmark = [*azure.NEEDS, *kinect_v2.NEEDS]

RATES_HZ = {"made-up": 25, "recorded": 10, "azure-a": 30, "azure-b": 15, "kinect": 30, "remote": 20}
SEEDS = {"recorded": 1, "azure-a": 2, "azure-b": 3, "kinect": 4, "remote": 5}
"""Whom each sensor shows: persons 0.1 m apart, whose joints are never twice where they were."""
FOLLOWED = ("azure-a", "azure-b", "kinect", "remote")
"""Sensors of one person who does not leave: as long as nothing happens to them, he keeps his id."""
SETTINGS = {"made-up": {"kind": "synthetic", "persons": 2, "seed": 7, "rate_hz": 25.0}}
STEPS = 1500
"""More than any sensor gets to."""


def azure_script(stream: str) -> azure.Steps:
    period_ms = 1000 // RATES_HZ[stream]
    script = azure.persons(STEPS, SEEDS[stream], pause_ms=period_ms)
    script["usec"] = 5_000_000 + 1000 * period_ms * np.arange(STEPS)
    return script


def kinect_script() -> kinect_v2.Steps:
    script = kinect_v2.steps(STEPS, bodies=1)
    script["pause_ms"] = 33
    script["bodies"]["id"] = np.where(script["bodies"]["tracked"], 72_057_594_037_927_936, 0)
    script["bodies"]["joints"]["position"] = poses(STEPS, SEEDS["kinect"])[:, None]
    return script


def raw_frame(joints: NDArray[np.float64]) -> BodyFrame:
    return BodyFrame(time.time_ns(), joints[None].astype(np.float32), np.full((1, 25), 2, np.uint8), (7,))


class Capture:
    """A sender at this machine, with a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint, self._stop = endpoint, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with Sender(self._endpoint, None, "kinect_v2") as sender:
            for joints in poses(STEPS, SEEDS["remote"]):
                due_s = time.monotonic() + 1 / RATES_HZ["remote"]
                sender.offer(raw_frame(joints))
                while (left_s := due_s - time.monotonic()) > 0:
                    sender.serve(left_s)
                if self._stop.is_set():
                    return

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@dataclass
class Watch:
    """A subscriber of all streams, and what it has had."""

    subscriber: Subscriber
    frames: dict[str, list[ReceivedFrame]] = field(default_factory=lambda: {stream: [] for stream in RATES_HZ})

    def until(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LONG_S
        while not holds():
            assert time.monotonic() < deadline_s, {stream: len(frames) for stream, frames in self.frames.items()}
            if (frame := self.subscriber.read(100)) is not None:
                self.frames[frame.stream].append(frame)

    def since(self, marks: dict[str, int], stream: str) -> list[ReceivedFrame]:
        return self.frames[stream][marks[stream] :]

    def marks(self) -> dict[str, int]:
        return {stream: len(frames) for stream, frames in self.frames.items()}


@contextmanager
def a_node_of_all_kinds(
    cameras: Cameras, kinect: Kinect, run_node: Callable[[Callable[[], Node]], AbstractContextManager[Node]]
) -> Iterator[tuple[Node, Watch, list[Event]]]:
    folder = cameras.folder
    for number, stream in enumerate(("azure-a", "azure-b")):
        cameras.plug(number, azure_script(stream), serial=stream)
    kinect.plug(kinect_script())
    (folder / "recordings").mkdir()
    for number, clip in enumerate(np.split(poses(20, SEEDS["recorded"]), 2)):
        write_skeleton(folder / "recordings" / f"{number}.skeleton", [raw_frame(joints) for joints in clip])
    camera = {"kind": "azure_kinect", "libraries": str(cameras.libraries), "hang_timeout_s": 30.0}
    sensors = {
        **SETTINGS,
        "recorded": {"kind": "replay", "path": str(folder / "recordings"), "loop": True, "rate_hz": 10.0},
        "azure-a": {**camera, "serial": "azure-a", "smoothing": 0.25, "processing": "cpu"},
        "azure-b": {**camera, "serial": "azure-b", "rate_hz": 15, "depth_mode": "wfov_binned"},
        "kinect": {"kind": "kinect_v2", "hang_timeout_s": 1.0},
        "remote": {"kind": "remote", "endpoint": f"ipc://{folder}/raw", "rate_hz": 20.0},
    }
    endpoint = f"ipc://{folder}/node"
    events: list[Event] = []
    with (
        run_node(lambda: create_node(check({"sensors": sensors, "publish": {"endpoint": endpoint}}, "test"))) as node,
        Subscriber(endpoint, on_event=events.append, stall_after_s=30) as subscriber,
    ):
        yield node, Watch(subscriber), events


def process_of(module: str, script: Path | None = None) -> psutil.Process:
    """The process that reads a camera; `script` tells which, where there are several of a kind."""
    found = [child for child in psutil.Process().children() if f"skelanon.sensors.{module}.child" in child.cmdline()]
    (process,) = (each for each in found if script is None or str(script) in [file.path for file in each.open_files()])
    return process


def test_each_sensor_has_its_own_bodies_rate_and_settings_and_its_troubles_to_itself(
    cameras: Cameras, kinect: Kinect, run_node: Callable[[Callable[[], Node]], AbstractContextManager[Node]]
) -> None:
    senders = [Capture(f"ipc://{cameras.folder}/raw")]
    second = cameras.folder / "recordings" / "1.skeleton"
    troubles: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {  # what happens, and what ends it
        "azure-a": (lambda: cameras.unplug(0), lambda: cameras.plug(0, azure_script("azure-a"), serial="azure-a")),
        "azure-b": (lambda: process_of("azure_kinect", cameras.folder / "1.script").kill(), lambda: None),
        "kinect": (lambda: os.kill(process_of("kinect_v2").pid, signal.SIGSTOP), lambda: None),  # it hangs
        "remote": (senders[0].close, lambda: senders.append(Capture(f"ipc://{cameras.folder}/raw"))),
        "recorded": (lambda: second.write_text("20\n1\n"), lambda: None),
    }
    threads, children = threading.active_count() - 1, psutil.Process().children()  # without the sender's thread
    with a_node_of_all_kinds(cameras, kinect, run_node) as (node, watch, events):
        watch.until(lambda: all(len([f for f in frames if f.ids]) >= 15 for frames in watch.frames.values()))
        for stream, (happen, end) in troubles.items():
            marks = watch.marks()
            happen()
            watch.until(lambda: any(frame.state == "fault" for frame in watch.since(marks, stream)))  # noqa: B023
            end()
            watch.until(lambda: bool(watch.frames[stream][-1].ids))  # noqa: B023
            check_the_others(watch, marks, stream)
        check_bodies_and_rates(watch)
        assert events == []
        faults = {stream: counters.faults for stream, counters in zip(node.streams, node.counters, strict=True)}
    for sender in senders:
        sender.close()
    assert all(faults[stream] for stream in troubles)
    assert faults["made-up"] == 0
    calls = cameras.calls()
    assert calls.count("smoothing 0.25") == 2  # of `azure-a`, as often as it was opened
    assert {call for call in calls if call.startswith("start")} == {
        "start depth 2 fps 2 color 0",
        "start depth 3 fps 1 color 0",
    }
    assert set(psutil.Process().children()) <= set(children)
    assert threading.active_count() == threads


def check_the_others(watch: Watch, marks: dict[str, int], troubled: str) -> None:
    """That nothing happened to them: no fault, no pause, nobody lost sight of."""
    for stream in set(RATES_HZ) - {troubled}:
        frames = watch.frames[stream][marks[stream] - 1 :]
        assert {frame.state for frame in frames} <= {"ok"}, (stream, troubled)
        assert max(np.diff([frame.captured_ns for frame in frames]), default=0) < 2e9, (stream, troubled)
        if stream in FOLLOWED:
            assert len({frame.ids for frame in frames}) == 1, (stream, troubled)
    if troubled in FOLLOWED:
        before, *_, after = (frame.ids for frame in watch.frames[troubled][marks[troubled] - 1 :])
        assert len(before) == len(after) == 1
        assert before != after, "who is there after it may be another"


def check_bodies_and_rates(watch: Watch) -> None:
    """Each stream has the roots of its own sensor's bodies, which Template leaves above their places."""
    with Synthetic(SyntheticSettings.model_validate({**SETTINGS["made-up"], "fast": True})) as sensor:
        made_up = [frame.joints[:, 0] for _ in range(4 * STEPS) if (frame := sensor.read(0)) is not None]
    places = {stream: poses(STEPS, seed)[:, 0] for stream, seed in SEEDS.items()} | {"made-up": np.concatenate(made_up)}
    places["recorded"] = poses(20, SEEDS["recorded"])[:, 0]
    for stream, frames in watch.frames.items():
        assert [frame.sequence for frame in frames] == list(range(frames[0].sequence, frames[0].sequence + len(frames)))
        roots = np.concatenate([frame.joints[:, 0] for frame in frames])[:, None, [0, 2]]
        assert len(roots) > 20
        nearest = np.min(np.linalg.norm(roots - places[stream][:, [0, 2]], axis=2), axis=1)
        assert nearest.max() < 1e-5, stream
        steps_s = np.diff([frame.captured_ns for frame in frames if frame.state == "ok"]) / 1e9
        assert np.median(steps_s) == pytest.approx(1 / RATES_HZ[stream], rel=0.3), stream


def test_the_settings_in_the_documentation_load() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "sensors.md").read_text("utf-8")
    section = page[page.index("## Several sensors") :]
    settings = check(yaml.safe_load(section.split("```yaml\n")[1].split("```")[0]), "docs/sensors.md")
    assert [sensor.kind for sensor in settings.sensors.values()] == ["azure_kinect", "azure_kinect", "remote", "replay"]
