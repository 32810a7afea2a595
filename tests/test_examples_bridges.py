"""The small examples, against real nodes, sockets and libraries; ROS 2 against stand-ins."""

from __future__ import annotations

import asyncio
import importlib.util
import queue
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from skelanon.configs import check
from skelanon.sensors import BONES, JOINT_NAMES, PARENTS
from skelanon.stream import Event, Gap, Node, ReceivedFrame, Restart, Resume, Stall, create_node

if TYPE_CHECKING:
    from tests.conftest import RawNode

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{Path(name).stem}", EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def synthetic(**sensor: Any) -> Node:
    settings = {"hall": {"kind": "synthetic", "persons": 2, "rate_hz": 60, **sensor}}
    return create_node(check({"sensors": settings, "publish": {"endpoint": "tcp://127.0.0.1:*"}}, "test"))


def a_frame(sequence: int, *ids: int, captured_ns: int = 1_700_000_000_123_456_789) -> ReceivedFrame:
    joints = (np.arange(len(ids) * 75, dtype=np.float32).reshape(-1, 25, 3) + sequence).astype(np.float32)
    return ReceivedFrame("hall-2", 1, sequence, captured_ns, 0, 0, "ok", ids, joints, None, 0, 0)


def test_each_example_says_what_it_takes() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    programs = sorted(path for path in EXAMPLES.rglob("*.py"))
    assert len(programs) >= 4
    for path in programs:
        assert f"`python {path.relative_to(ROOT).as_posix()}`" in listed
    for link in re.findall(r"\]\((?!http)([^)#]+)", listed + (EXAMPLES / "bridges" / "ros2.md").read_text("utf-8")):
        assert (EXAMPLES / link).exists() or (EXAMPLES / "bridges" / link).exists(), link


# asyncio


def test_asyncio_gets_every_frame_and_what_went_wrong(raw_node: RawNode) -> None:
    frames = load("asyncio_subscriber.py").frames
    events: list[Event] = []

    async def receive() -> list[tuple[str, int, int]]:
        out = []
        async with aclosing(frames(raw_node.endpoint, stall_after_s=0.3, on_event=events.append)) as arriving:
            first = asyncio.ensure_future(anext(arriving))
            await asyncio.sleep(0)
            await asyncio.to_thread(raw_node.await_subscription)
            raw_node.frame(0)
            raw_node.socket.send_multipart([b"skelanon/1/hall/frame", b"hostile"])
            raw_node.frame(3)
            out.append(await first)
            out.append(await anext(arriving))
            third = asyncio.ensure_future(anext(arriving))
            for sequence in range(12):  # one stream is alive, and yet the other's silence is seen
                raw_node.frame(sequence, "door")
                out.append(await third)
                third = asyncio.ensure_future(anext(arriving))
                await asyncio.sleep(0.05)
            raw_node.epoch = 2
            raw_node.frame(0)
            out.append(await asyncio.wait_for(third, 10))
        return [(frame.stream, frame.epoch, frame.sequence) for frame in out]

    assert asyncio.run(receive()) == [
        ("hall", 1, 0), ("hall", 1, 3), *(("door", 1, n) for n in range(12)), ("hall", 2, 0),
    ]  # fmt: skip
    assert [type(event) for event in events if event.stream == "hall"] == [Gap, Stall, Restart, Resume]
    assert events[0] == Gap("hall", 2)


def test_asyncio_takes_the_named_streams(raw_node: RawNode) -> None:
    frames = load("asyncio_subscriber.py").frames

    async def receive() -> ReceivedFrame:
        async with aclosing(frames(raw_node.endpoint, ["hall"])) as arriving:
            first = asyncio.ensure_future(anext(arriving))
            await asyncio.to_thread(raw_node.await_subscription, b"skelanon/1/hall/")
            raw_node.frame(0, "hall-2")
            raw_node.frame(5, "hall")
            found: ReceivedFrame = await asyncio.wait_for(first, 10)
            return found

    assert asyncio.run(receive()).sequence == 5


def test_asyncio_as_a_program(run_node: RunNode) -> None:
    with run_node(synthetic) as node:
        command = [sys.executable, str(EXAMPLES / "asyncio_subscriber.py"), node.publisher.endpoint]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                said = next(line for line in process.stderr if "hall" in line)
            finally:
                process.kill()
    assert re.fullmatch(r"hall: \d+ frames\n", said)


# Open Sound Control


def test_osc_arrives_over_udp(run_node: RunNode) -> None:
    parse = pytest.importorskip("pythonosc.osc_bundle", reason="needs python-osc")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, run_node(synthetic) as node:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        to = ["--port", str(receiver.getsockname()[1])]
        command = [sys.executable, str(EXAMPLES / "bridges" / "osc.py"), node.publisher.endpoint, *to]
        with subprocess.Popen(command) as process:
            try:
                bundles = [parse.OscBundle(receiver.recv(65536)) for _ in range(30)]
            finally:
                process.kill()
    sent = {message.address: message.params for bundle in bundles for message in bundle}
    for name in JOINT_NAMES:
        assert len(sent[f"/skelanon/hall/0/{name}"]) == 3
    assert sent["/skelanon/hall/0/id"][0].isdecimal()
    assert set(sent) - {f"/skelanon/hall/{place}/{name}" for place in (0, 1) for name in ("id", *JOINT_NAMES)} == {
        "/skelanon/hall/bodies"
    }


def test_osc_says_exactly_what_came_and_keeps_places() -> None:
    pytest.importorskip("pythonosc", reason="needs python-osc")
    osc = load("bridges/osc.py")
    places = osc.Places()
    seen = []
    for sequence, ids in enumerate([(7, 8), (8, 9), (), (2**32 - 1,)]):
        frame = a_frame(sequence, *ids)
        sent = {message.address: message.params for bundle in osc.bundles(frame, places) for message in bundle}
        assert sent["/skelanon/hall-2/bodies"] == [len(ids)]
        seen.append({place: sent.get(f"/skelanon/hall-2/{place}/id") for place in (0, 1)})
        for place, named in seen[-1].items():
            if named:
                joints = frame.joints[ids.index(int(named[0]))]
                got = [sent[f"/skelanon/hall-2/{place}/{name}"] for name in JOINT_NAMES]
                np.testing.assert_array_equal(np.array(got, np.float32), joints)
    assert seen == [
        {0: ["7"], 1: ["8"]}, {0: ["9"], 1: ["8"]}, {0: None, 1: None}, {0: ["4294967295"], 1: None},
    ]  # fmt: skip


# Lab Streaming Layer


def test_lsl_is_found_and_says_what_came(tmp_path: Path) -> None:
    """By liblsl's own inlet; in a process of its own, since liblsl keeps threads and settings."""
    if importlib.util.find_spec("pylsl") is None:
        pytest.skip("needs pylsl")
    script = tmp_path / "inlet.py"
    script.write_text(LSL)
    done = subprocess.run(
        [sys.executable, script, EXAMPLES / "bridges" / "lsl.py"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "no LSL here" in done.stdout:
        pytest.skip("liblsl does not load here, or finds nothing on this machine")
    assert done.returncode == 0, done.stderr


LSL = """
import importlib.util, sys, time
import numpy as np
try:
    import pylsl
except (ImportError, OSError, RuntimeError):
    sys.exit(sys.stdout.write("no LSL here") and 0)
from skelanon.sensors import JOINT_NAMES
from skelanon.stream import ReceivedFrame

spec = importlib.util.spec_from_file_location("example_lsl", sys.argv[1])
lsl = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lsl)
pylsl.set_config_content("[multicast]\\nResolveScope = machine\\n[log]\\nlevel = -3\\n")
name = f"hall-{time.time_ns() % 10**9}"
outlet = lsl.Outlet(name, 2)
found = pylsl.resolve_byprop("name", name, timeout=10)
if not found:
    sys.exit(sys.stdout.write("no LSL here") and 0)
(info,) = found
assert (info.type(), info.source_id(), info.channel_count()) == ("MoCap", f"skelanon-{name}", 152)
inlet = pylsl.StreamInlet(info)
channel = inlet.info(10).desc().child("channels").child("channel")
labels = []
while not channel.empty():
    labels.append(channel.child_value("label"))
    channel = channel.next_sibling("channel")
assert labels[:4] == ["0_seen", "0_SpineBase_x", "0_SpineBase_y", "0_SpineBase_z"]
assert labels[-1] == f"1_{JOINT_NAMES[-1]}_z" and len(set(labels)) == 152
inlet.open_stream(10)
frames = []
for ids in ((7, 8), (8, 9, 10), (), (10,)):
    joints = np.random.default_rng(len(frames)).normal(size=(len(ids), 25, 3)).astype(np.float32)
    captured_ns = time.time_ns() - 50_000_000
    frames.append(ReceivedFrame(name, 1, len(frames), captured_ns, 0, 0, "ok", ids, joints, None, 0, 0))
    outlet.push(frames[-1])
for frame, places in zip(frames, ((7, 8), (9, 8), (None, None), (10, None))):
    sample, stamp = inlet.pull_sample(10)
    assert sample is not None
    got = np.array(sample, np.float32).reshape(2, 76)
    for place, body in enumerate(places):
        assert got[place, 0] == (body is not None)
        if body is None:
            assert np.isnan(got[place, 1:]).all()
        else:
            np.testing.assert_array_equal(got[place, 1:], frame.joints[frame.ids.index(body)].ravel())
    stamp_ns = time.time_ns() - (pylsl.local_clock() - stamp) * 1e9
    assert abs(stamp_ns - frame.captured_ns) < 20e6
"""


# ROS 2, by stand-ins: fields may be set in the constructor, and parts exist, as in messages of rclpy.


class Message(SimpleNamespace):
    """Any message."""

    LINE_LIST, ADD = 5, 0

    def __getattr__(self, name: str) -> Any:
        if name not in ("header", "pose", "scale", "color", "orientation"):
            raise AttributeError(name)
        self.__dict__[name] = Message()
        return self.__dict__[name]


def test_the_ros_node_publishes_markers(run_node: RunNode, monkeypatch: pytest.MonkeyPatch) -> None:
    published: queue.Queue[tuple[str, Any]] = queue.Queue()

    class RosNode:
        def __init__(self, name: str) -> None:
            assert name == "skelanon"

        def create_publisher(self, kind: type, topic: str, profile: object) -> SimpleNamespace:
            assert (kind, profile) == (Message, "sensor data")
            return SimpleNamespace(publish=lambda message: published.put((topic, message)))

        def destroy_node(self) -> None:
            published.put(("destroyed", None))

    deadline_s = time.monotonic() + 20
    rclpy = SimpleNamespace(
        init=lambda: None, try_shutdown=lambda: None, ok=lambda: published.empty() and time.monotonic() < deadline_s
    )
    for name, module in {
        "rclpy": rclpy,
        "rclpy.node": SimpleNamespace(Node=RosNode),
        "rclpy.qos": SimpleNamespace(qos_profile_sensor_data="sensor data"),
        "builtin_interfaces": None,
        "builtin_interfaces.msg": SimpleNamespace(Time=Message, Duration=Message),
        "geometry_msgs": None,
        "geometry_msgs.msg": SimpleNamespace(Point=Message),
        "visualization_msgs": None,
        "visualization_msgs.msg": SimpleNamespace(Marker=Message, MarkerArray=Message),
    }.items():
        monkeypatch.setitem(sys.modules, name, module or SimpleNamespace())
    text = (EXAMPLES / "bridges" / "ros2.md").read_text("utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"__name__": "ros2"}
    exec(snippet, names)
    frame = a_frame(3, 2**32 - 1)
    (marker,) = names["to_markers"](frame).markers
    assert (marker.ns, marker.id, marker.type) == ("hall-2", 2**31 - 1, Message.LINE_LIST)
    assert marker.header.frame_id == "skelanon_hall_2"
    assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert len(marker.points) == 48
    got = np.array([[point.x, point.y, point.z] for point in marker.points], np.float32).reshape(24, 2, 3)
    want = frame.joints[0][:, [2, 0, 1]]  # forward, left, up
    np.testing.assert_array_equal(got, np.stack([want[[PARENTS[bone] for bone in BONES]], want[list(BONES)]], axis=1))
    with run_node(synthetic) as node:
        names["main"](node.publisher.endpoint)
    topic, message = published.get_nowait()
    assert topic == "skelanon/hall/markers"
    assert {len(marker.points) for marker in message.markers} == {48}
