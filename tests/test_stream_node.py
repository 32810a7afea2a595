"""The node: faults of one sensor, of the model, of subscribers; nobody else notices, and everybody is told."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from skelanon.configs import PublishSettings
from skelanon.sensors.errors import EndOfRecording, RecordingError, SensorError
from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.sensors.sensor import Sensor
from skelanon.stream.node import SILENCE_S, Node
from skelanon.stream.subscriber import Event, Gap, ReceivedFrame, Restart, Stall, Subscriber

Frames = Callable[..., BodyFrame]
Runners = Callable[..., Any]  # makes a ScriptedRunner of conftest.py
RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

Step = BodyFrame | Exception | None


class Scripted(Sensor):
    """Delivers what it is told: frames, errors, nothing (None); after the last step, nothing for ever."""

    def __init__(self, steps: Iterator[Step], *, lossless: bool = True) -> None:
        self.lossless = lossless
        self._steps = steps
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def read(self, timeout_ms: int) -> BodyFrame | None:
        step = next(self._steps, None)
        if step is None:
            threading.Event().wait(timeout_ms / 1e3)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1


def publish(endpoint: str, wait_for_subscribers: int = 1) -> PublishSettings:
    return PublishSettings(endpoint=endpoint, wait_for_subscribers=wait_for_subscribers)


def read_all(subscriber: Subscriber, count: int, timeout_s: float = 10) -> list[ReceivedFrame]:
    """So many frames, or as many as come in time."""
    frames: list[ReceivedFrame] = []
    deadline = time.monotonic() + timeout_s
    while len(frames) < count and time.monotonic() < deadline:
        frame = subscriber.read(timeout_ms=100)
        if frame is not None:
            frames.append(frame)
    return frames


def test_every_frame_of_a_lossless_sensor_arrives_in_order(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    steps: list[Step] = [body_frame(1, captured_ns=number) for number in range(500)]
    sensor = Scripted(iter([*steps, EndOfRecording()]))
    with (
        run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc))),
        Subscriber(ipc) as subscriber,
    ):
        frames = read_all(subscriber, 500)
        assert [frame.captured_ns for frame in frames] == list(range(500))
        assert len({frame.ids for frame in frames}) == 1
        while not subscriber.streams["a"].stopped:
            assert subscriber.read(timeout_ms=2000) is None
    assert (sensor.opened, sensor.closed) == (1, 1)


def test_a_subscriber_that_is_behind_at_the_end_loses_nothing(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    count = 1040  # more than wait in the subscriber: the others wait in the kernel
    steps: list[Step] = [body_frame(captured_ns=number) for number in range(count)]
    sensor = Scripted(iter([*steps, EndOfRecording()]))
    with run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc))), Subscriber(ipc) as subscriber:
        while not sensor.closed:
            time.sleep(0.05)
        time.sleep(0.5)  # the node has sent all of it
        assert [frame.captured_ns for frame in read_all(subscriber, count)] == list(range(count))
        assert subscriber.read(timeout_ms=500) is None
        assert subscriber.streams["a"].stopped


def test_an_ipv6_address_works_on_both_sides(body_frame: Frames, scripted_runner: Runners, run_node: RunNode) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    sensor = Scripted(iter([body_frame(1)]))
    with (
        run_node(lambda: Node({"a": sensor}, scripted_runner(), publish("tcp://[::1]:*"))) as node,
        Subscriber(node.publisher.endpoint) as subscriber,
    ):
        assert len(read_all(subscriber, 1)) == 1


def test_a_sensor_that_raises_is_opened_again_and_the_others_notice_nothing(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> Iterator[Step]:
        yield body_frame(1, captured_ns=1)
        yield SensorError("the cable is out; plug it in")
        yield ZeroDivisionError("S001C001P001R001A001.skeleton at 1.2345")
        yield body_frame(1, captured_ns=2)

    def steady() -> Iterator[Step]:
        for number in range(10_000):
            threading.Event().wait(0.01)
            yield body_frame(1, captured_ns=number)

    bad, good = Scripted(failing()), Scripted(steady(), lossless=False)
    events: list[Event] = []
    with (
        run_node(lambda: Node({"bad": bad, "good": good}, scripted_runner(), publish(ipc))),
        Subscriber(ipc, on_event=events.append) as subscriber,
    ):
        frames = read_all(subscriber, 120)
        assert subscriber.streams["good"].lost == 0
    of_bad = [frame for frame in frames if frame.stream == "bad"]
    assert [frame.state for frame in of_bad][:4] == ["ok", "fault", "fault", "ok"]
    assert [frame.captured_ns for frame in of_bad if frame.state == "ok"] == [1, 2]
    of_good = [frame for frame in frames if frame.stream == "good"]
    assert len(of_good) + sum(frame.dropped for frame in of_good) == of_good[-1].captured_ns + 1
    assert {frame.state for frame in of_good} == {"ok"}
    assert len(of_good) > 100
    assert bad.opened == 3
    assert "the cable is out; plug it in" in caplog.text
    assert "S001" not in caplog.text
    assert "1.2345" not in caplog.text
    assert events == []


def test_a_bad_recording_is_skipped_and_told(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    steps: list[Step] = [body_frame(1), RecordingError("recording 1 of 2, line 3: not a number"), body_frame(1)]
    sensor = Scripted(iter([*steps, EndOfRecording()]))
    with (
        run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc))) as node,
        Subscriber(ipc) as subscriber,
    ):
        assert [frame.state for frame in read_all(subscriber, 3)] == ["ok", "fault", "ok"]
    assert sensor.opened == 1
    assert node.counters[0].faults == 1


def test_a_silent_sensor_is_a_fault(body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode) -> None:
    sensor = Scripted(iter([body_frame(1), None]))
    with (
        run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc))),
        Subscriber(ipc) as subscriber,
    ):
        frames = read_all(subscriber, 2, timeout_s=SILENCE_S + 3)
        assert [frame.state for frame in frames] == ["ok", "fault"]
        while subscriber.streams["a"].status is None or subscriber.streams["a"].status.state != "fault":
            subscriber.read(timeout_ms=100)


def test_a_slow_model_drops_frames_and_says_how_many(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    total = 200

    def quick() -> Iterator[Step]:
        for number in range(total):
            threading.Event().wait(0.002)
            yield body_frame(1, captured_ns=number)
        yield EndOfRecording()

    runner = scripted_runner()
    working = runner.model

    def slow(joints: Any) -> Any:
        threading.Event().wait(0.05)
        return working(joints)

    runner.model = slow
    with (
        run_node(lambda: Node({"a": Scripted(quick(), lossless=False)}, runner, publish(ipc))) as node,
        Subscriber(ipc) as subscriber,
    ):
        frames = []
        while not (subscriber.streams and subscriber.streams["a"].stopped):
            frame = subscriber.read(timeout_ms=100)
            if frame is not None:
                frames.append(frame)
    assert len(frames) < total / 4
    assert len(frames) + sum(frame.dropped for frame in frames) == total
    assert frames[-1].captured_ns == total - 1
    assert (node.counters[0].frames_in, node.counters[0].dropped) == (total, total - len(frames))


def test_a_stopped_subscriber_does_not_hold_up_the_others_and_learns_what_it_lost(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    some = [body_frame(1, captured_ns=number) for number in range(20)]

    def live() -> Iterator[Step]:
        while True:
            threading.Event().wait(0.001)
            yield from some

    events: list[Event] = []
    sensor = Scripted(live(), lossless=False)
    with (
        run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc, wait_for_subscribers=2))),
        Subscriber(ipc, on_event=events.append) as stopped,
        Subscriber(ipc) as reading,
    ):
        assert len(read_all(reading, 5000, timeout_s=60)) == 5000  # more than the queues of both sides hold
        assert reading.streams["a"].lost == 0
        deadline = time.monotonic() + 20
        while not events and time.monotonic() < deadline:
            stopped.read(timeout_ms=100)
    (gap,) = events[:1]
    assert isinstance(gap, Gap)
    assert gap.lost > 1000


def test_a_killed_and_restarted_node_is_a_restart_not_a_gap(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    events: list[Event] = []
    with Subscriber(ipc, stall_after_s=0.5, on_event=events.append) as subscriber:
        for _ in range(2):
            steps: list[Step] = [body_frame(1, captured_ns=number) for number in range(20)]
            sensor = Scripted(iter(steps))
            with run_node(lambda sensor=sensor: Node({"a": sensor}, scripted_runner(), publish(ipc))):  # type: ignore[misc]
                assert len(read_all(subscriber, 20)) == 20
        stats = subscriber.streams["a"]
        assert (stats.restarts, stats.lost) == (1, 0)
    assert Restart("a") in events
    assert not any(isinstance(event, Stall) for event in events)  # a node that says goodbye does not stall


def test_an_error_of_the_node_itself_ends_it_with_its_cause(
    scripted_runner: Runners, ipc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skelanon.stream.mailbox.Mailbox.put", lambda *_: 1 / 0)
    with (
        Node({"a": Scripted(iter([no_bodies(0)]))}, scripted_runner(), publish(ipc, 0)) as node,
        pytest.raises(RuntimeError, match="a sensor's thread ended") as caught,
    ):
        node.run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_stopping_takes_less_than_a_second_even_when_a_driver_hangs(
    scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    class Hanging(Scripted):
        def read(self, timeout_ms: int) -> BodyFrame | None:
            threading.Event().wait(20)
            return None

    with run_node(lambda: Node({"a": Hanging(iter(()))}, scripted_runner(), publish(ipc, 0))) as node:
        threading.Event().wait(0.2)
        started = time.monotonic()
        node.stop()
        while not node.publisher.closed:
            threading.Event().wait(0.01)
    assert time.monotonic() - started < 1.0


def test_schema_comes_at_once_and_status_every_second(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    def live() -> Iterator[Step]:
        while True:
            threading.Event().wait(0.02)
            yield body_frame(1, captured_ns=time.time_ns())

    sensor = Scripted(live(), lossless=False)
    with run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc))), Subscriber(ipc) as subscriber:
        (first,) = read_all(subscriber, 1)
        schema = subscriber.streams["a"].schema
        assert schema is not None  # before the first frame
        assert (schema.model_name, schema.axes, first.joints.shape) == ("scripted", "camera", (1, 25, 3))
        seen = set()
        started = time.monotonic()
        while time.monotonic() - started < 2.5:
            subscriber.read(timeout_ms=100)
            if subscriber.streams["a"].status is not None:
                seen.add(subscriber.streams["a"].status.uptime_s)
        assert len(seen) in (2, 3)


def test_only_an_anonymous_frame_can_be_sent(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    with run_node(lambda: Node({"a": Scripted(iter(()))}, scripted_runner(), publish(ipc, 0))) as node:
        for raw in (body_frame(1), body_frame(1).joints, np.zeros((1, 25, 3)), b"joints", None):
            with pytest.raises(TypeError, match="only an AnonymousFrame"):
                node.publisher.send(0, raw)  # type: ignore[arg-type]


def test_a_port_in_use_is_refused_by_name(scripted_runner: Runners) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(RuntimeError, match=rf"cannot publish at tcp://127.0.0.1:{port}: Address already in use"):
            Node({"a": Scripted(iter(()))}, scripted_runner(), publish(f"tcp://127.0.0.1:{port}"))


def test_a_sensor_opened_again_starts_new_tracks(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    steps: list[Step] = [body_frame(1), body_frame(1), SensorError("gone"), body_frame(1)]
    with (
        run_node(lambda: Node({"a": Scripted(iter(steps))}, scripted_runner(), publish(ipc))),
        Subscriber(ipc) as subscriber,
    ):
        first, second, _, third = (frame.ids for frame in read_all(subscriber, 4))
    assert first == second != third


def test_a_sensor_that_never_delivers_is_a_fault(scripted_runner: Runners, ipc: str, run_node: RunNode) -> None:
    with (
        run_node(lambda: Node({"a": Scripted(iter(()))}, scripted_runner(), publish(ipc))),
        Subscriber(ipc) as subscriber,
    ):
        (frame,) = read_all(subscriber, 1, timeout_s=SILENCE_S + 5)
    assert frame.state == "fault"


def test_a_sensor_that_delivers_no_frame_but_a_thing_is_at_fault(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    steps: list[Any] = ["S001", body_frame(1).joints, body_frame(1)]
    with (
        run_node(lambda: Node({"a": Scripted(iter(steps))}, scripted_runner(), publish(ipc))),
        Subscriber(ipc) as subscriber,
    ):
        assert [frame.state for frame in read_all(subscriber, 3)] == ["fault", "fault", "ok"]


def test_a_flood_of_subscriptions_does_not_hold_up_the_frames(
    body_frame: Frames, scripted_runner: Runners, ipc: str, run_node: RunNode
) -> None:
    frame = body_frame(1)

    def live() -> Iterator[Step]:
        while True:
            threading.Event().wait(0.01)
            yield frame

    done = threading.Event()

    def flood() -> None:
        with zmq.Context() as context, context.socket(zmq.XSUB) as hostile:
            hostile.setsockopt(zmq.LINGER, 0)
            hostile.connect(ipc)
            while not done.is_set():
                for message in (b"\1skelanon/1/", b"\0skelanon/1/", b"\2", b"\1" + bytes(200)):
                    with suppress(zmq.Again):
                        hostile.send(message, zmq.NOBLOCK)
                while hostile.poll(0):
                    hostile.recv()

    attack = threading.Thread(target=flood, daemon=True)
    sensor = Scripted(live(), lossless=False)
    with run_node(lambda: Node({"a": sensor}, scripted_runner(), publish(ipc))) as node, Subscriber(ipc) as subscriber:
        attack.start()
        assert len(read_all(subscriber, 50, timeout_s=10)) == 50
        started = time.monotonic()
        node.stop()
        while not node.publisher.closed:
            threading.Event().wait(0.01)
        assert time.monotonic() - started < 2.0
        done.set()
        attack.join(5)


def test_an_ipc_path_that_is_taken_is_refused(
    scripted_runner: Runners, ipc: str, run_node: RunNode, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(RuntimeError, match="a file is there that is not a socket"):
        Node({"a": Scripted(iter(()))}, scripted_runner(), publish(f"ipc://{tmp_path}/precious"))
    assert (tmp_path / "precious").read_text() == "mine"
    with (
        run_node(lambda: Node({"a": Scripted(iter(()))}, scripted_runner(), publish(ipc))),
        pytest.raises(RuntimeError, match="Address already in use"),
    ):
        Node({"a": Scripted(iter(()))}, scripted_runner(), publish(ipc))
