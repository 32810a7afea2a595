"""The subscriber against raw sockets: what arrives, what is missing, what is refused."""

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
import zmq

from skelanon.sensors.joints import JOINT_NAMES, PARENTS
from skelanon.stream.subscriber import ClientKeys, Event, Gap, Restart, Resume, Stall, Subscriber

pytestmark = pytest.mark.timeout(30)

SPECIFICATION = (Path(__file__).parents[1] / "docs" / "wire.md").read_text("utf-8")
PATIENT_MS = 10_000
"""Far longer than any message takes; only a failing test waits for it."""


def frame_of(sequence: int) -> dict[str, Any]:
    """The fields of a frame with one body."""
    body = {"id": 9, "joints": bytes(300), "tracking": bytes([2] * 25)}
    times = {"captured_ns": 10, "published_ns": 20}
    return {"sequence": sequence, **times, "state": "ok", "bodies": [body], "dropped": 0}


class Node:
    """Publishes what it is told to, once someone has subscribed."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:*", **options: object) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self.socket.setsockopt(zmq.SNDHWM, 5000)
        self.socket.setsockopt(zmq.RCVTIMEO, PATIENT_MS)
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.bind(endpoint)
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.epoch = 1

    def await_subscription(self, prefix: bytes = b"skelanon/1/") -> None:
        while self.socket.recv() != b"\x01" + prefix:
            pass

    def await_reconnection(self, subscriber: Subscriber) -> None:
        """Until the subscription comes anew; ZeroMQ sends it while the subscriber reads."""
        while not self.socket.poll(1) or self.socket.recv() != b"\x01skelanon/1/":
            assert subscriber.read(10) is None

    def send(self, kind: str, message: dict[str, Any], stream: str = "hall") -> None:
        topic = f"skelanon/1/{stream}/{kind}".encode()
        self.socket.send_multipart([topic, msgpack.packb({"stream": stream, "epoch": self.epoch} | message)])

    def frame(self, sequence: int, stream: str = "hall", **changes: object) -> None:
        self.send("frame", frame_of(sequence) | changes, stream)

    def status(self, state: str, stream: str = "hall") -> None:
        counts = dict.fromkeys(["uptime_s", "rate_in_hz", "rate_out_hz", "frames_in", "frames_out"], 0)
        more = dict.fromkeys(["dropped", "withheld", "faults"], 0)
        self.send("status", {"state": state, **counts, **more, "latency_us": {}}, stream)

    def schema(self, stream: str = "hall") -> None:
        message = {
            "wire": 1, "layout": "kinect-v2-25", "joint_names": JOINT_NAMES, "parents": PARENTS, "units": "m",
            "axes": "camera", "axes_description": "", "root": "keep", "model_name": "template",
            "model_sha256": "0" * 64, "audit": None,
        }  # fmt: skip
        self.send("schema", message, stream)

    def close(self) -> None:
        self.socket.close()
        self._context.term()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture(name="subscriber")
def subscriber_(node: Node, events: list[Event]) -> Iterator[Subscriber]:
    with Subscriber(node.endpoint, on_event=events.append, stall_after_s=60) as subscriber:
        node.await_subscription()
        yield subscriber


def sequences(subscriber: Subscriber, count: int) -> list[int]:
    frames = [subscriber.read(PATIENT_MS) for _ in range(count)]
    return [frame.sequence for frame in frames if frame is not None]


def test_a_frame_arrives_whole(node: Node, subscriber: Subscriber) -> None:
    bodies = [
        {"id": i, "joints": np.full((25, 3), i, "<f4").tobytes(), "tracking": bytes([i] * 25)} for i in (2, 1)
    ]  # fmt: skip
    node.frame(7, captured_ns=1, published_ns=2, dropped=3, bodies=bodies)
    frame = subscriber.read(PATIENT_MS)
    assert frame is not None
    assert (frame.stream, frame.epoch, frame.sequence, frame.state) == ("hall", 1, 7, "ok")
    assert (frame.captured_ns, frame.published_ns, frame.dropped, frame.lost) == (1, 2, 3, 0)
    assert frame.received_ns > frame.published_ns
    assert frame.ids == (2, 1)
    assert frame.joints.dtype == np.float32
    assert not frame.joints.flags.writeable
    np.testing.assert_array_equal(frame.joints, np.broadcast_to(np.array([2, 1]).reshape(2, 1, 1), (2, 25, 3)))
    assert frame.tracking is not None
    assert not frame.tracking.flags.writeable
    np.testing.assert_array_equal(frame.tracking, np.broadcast_to(np.array([2, 1]).reshape(2, 1), (2, 25)))


def test_a_frame_without_tracking_or_bodies(node: Node, subscriber: Subscriber) -> None:
    node.frame(0, bodies=[{"id": 1, "joints": bytes(300), "tracking": b""}])
    node.frame(1, state="empty", bodies=[])
    untracked, empty = subscriber.read(PATIENT_MS), subscriber.read(PATIENT_MS)
    assert untracked is not None
    assert untracked.tracking is None
    assert empty is not None
    assert (empty.state, empty.ids, empty.joints.shape) == ("empty", (), (0, 25, 3))


def test_iteration_yields_every_frame_until_closed(node: Node, subscriber: Subscriber) -> None:
    for sequence in range(50):
        node.frame(sequence)
    seen = []
    for frame in subscriber:
        seen.append(frame.sequence)
        if len(seen) == 50:
            subscriber.close()
    assert seen == list(range(50))


def test_nothing_is_read_after_closing(subscriber: Subscriber) -> None:
    subscriber.close()
    subscriber.close()
    for read in (subscriber.read, subscriber.latest, lambda: next(iter(subscriber))):
        with pytest.raises(RuntimeError, match="the Subscriber is closed"):
            read()


def test_another_thread_may_neither_read_nor_close(subscriber: Subscriber) -> None:
    errors = []

    def meddle() -> None:
        for call in (subscriber.read, subscriber.close):
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    thread = threading.Thread(target=meddle)
    thread.start()
    thread.join()
    assert errors == ["a Subscriber is read and closed by the thread that made it"] * 2


def test_read_and_latest_return_in_time_when_nothing_comes(subscriber: Subscriber) -> None:
    assert subscriber.read(0) is None
    assert subscriber.read(30) is None
    assert subscriber.latest(0) == {}


def test_closing_in_an_event_ends_the_reading(node: Node) -> None:
    subscriber = Subscriber(node.endpoint, on_event=lambda event: subscriber.close())
    node.await_subscription()
    node.frame(0)
    node.frame(5)
    node.frame(6)
    assert [frame.sequence for frame in subscriber] == [0, 5]


def test_latest_drains_a_thousand_frames(node: Node, subscriber: Subscriber, events: list[Event]) -> None:
    for sequence in range(1000):
        node.frame(sequence)
        node.frame(sequence, "door")
    node.frame(0, "end")
    newest = subscriber.latest(PATIENT_MS)
    while "end" not in newest:  # what had not arrived at the first drain
        newest |= subscriber.latest(PATIENT_MS)
    assert {name: frame.sequence for name, frame in newest.items()} == {"hall": 999, "door": 999, "end": 0}
    assert subscriber.read(0) is None
    assert (subscriber.streams["hall"].frames, subscriber.streams["hall"].lost, events) == (1000, 0, [])


def test_a_gap_is_reported(node: Node, subscriber: Subscriber, events: list[Event]) -> None:
    for sequence in (3, 4, 9):
        node.frame(sequence)
    frames = [subscriber.read(PATIENT_MS) for _ in range(3)]
    assert [frame.lost for frame in frames if frame is not None] == [0, 0, 4]
    assert events == [Gap("hall", 4)]
    assert subscriber.streams["hall"].lost == 4


def test_a_restart_is_reported_and_what_was_missed_of_the_new_run(
    node: Node, subscriber: Subscriber, events: list[Event]
) -> None:
    node.schema()
    node.status("ok")
    node.frame(100)
    assert sequences(subscriber, 1) == [100]
    assert subscriber.streams["hall"].schema is not None
    node.epoch = 2
    node.frame(2)
    frame = subscriber.read(PATIENT_MS)
    assert frame is not None
    assert (frame.epoch, frame.lost) == (2, 2)
    assert events == [Restart("hall"), Gap("hall", 2)]
    stats = subscriber.streams["hall"]
    assert (stats.restarts, stats.schema, stats.status) == (1, None, None)


def test_a_node_that_comes_back_is_found_again(node: Node, subscriber: Subscriber, events: list[Event]) -> None:
    node.frame(5)
    assert sequences(subscriber, 1) == [5]
    node.close()
    again = Node(node.endpoint)
    try:
        again.epoch = 2
        again.await_reconnection(subscriber)
        again.frame(0)
        assert sequences(subscriber, 1) == [0]
    finally:
        again.close()
    assert events == [Restart("hall")]


def test_a_stall_is_found_while_waiting_and_ends_with_a_frame(node: Node, events: list[Event]) -> None:
    with Subscriber(node.endpoint, on_event=events.append, stall_after_s=0.1) as subscriber:
        node.await_subscription()
        node.frame(0)
        assert sequences(subscriber, 1) == [0]
        node.status("waiting")  # a status is no sign of life
        assert subscriber.read(300) is None
        assert [type(event) for event in events] == [Stall]
        assert isinstance(events[0], Stall)
        assert events[0].seconds >= 0.1
        assert (subscriber.streams["hall"].stalled, subscriber.streams["hall"].stalls) == (True, 1)
        node.frame(1, state="empty", bodies=[])  # an empty frame is
        assert sequences(subscriber, 1) == [1]
        assert events[1:] == [Resume("hall")]
        assert not subscriber.streams["hall"].stalled


def test_one_stream_may_stall_while_another_goes_on(node: Node, events: list[Event]) -> None:
    with Subscriber(node.endpoint, on_event=events.append, stall_after_s=0.1) as subscriber:
        node.await_subscription()
        node.frame(0, "door")
        assert sequences(subscriber, 1) == [0]
        for sequence in range(1000):
            node.frame(sequence)
            assert sequences(subscriber, 1) == [sequence]
            subscriber.read(5)
            if subscriber.streams["door"].stalled:
                break
        assert any(isinstance(event, Stall) and event.stream == "door" for event in events)
        assert not subscriber.streams["hall"].stalled


def test_an_asked_for_stream_that_never_comes_is_a_stall(node: Node, events: list[Event]) -> None:
    with Subscriber(node.endpoint, ["hall"], on_event=events.append, stall_after_s=0.05) as subscriber:
        assert subscriber.read(100) is None
        assert [event.stream for event in events] == ["hall"]


def test_frames_that_waited_for_the_reader_are_no_stall(node: Node, events: list[Event]) -> None:
    with Subscriber(node.endpoint, on_event=events.append, stall_after_s=0.05) as subscriber:
        node.await_subscription()
        node.frame(0)
        assert sequences(subscriber, 1) == [0]
        node.frame(1)
        assert subscriber._socket.poll(PATIENT_MS)  # it is there...
        threading.Event().wait(0.1)  # ...and the reader is busy with something else
        assert sequences(subscriber, 1) == [1]
        assert events == []


def test_a_stopped_stream_does_not_stall(node: Node, events: list[Event]) -> None:
    with Subscriber(node.endpoint, on_event=events.append, stall_after_s=0.2) as subscriber:
        node.await_subscription()
        node.frame(0)
        node.status("stopped")
        node.frame(1, "door")
        assert sequences(subscriber, 2) == [0, 1]
        assert subscriber.read(300) is None
        assert [event.stream for event in events] == ["door"]
        assert subscriber.streams["hall"].stopped


def test_a_stopped_stream_that_starts_again_has_not_stalled(node: Node, events: list[Event]) -> None:
    with Subscriber(node.endpoint, on_event=events.append, stall_after_s=0.2) as subscriber:
        node.await_subscription()
        node.status("stopped")
        assert subscriber.read(300) is None
        node.epoch = 2
        node.schema()
        assert subscriber.read(30) is None
        assert events == [Restart("hall")]


def test_only_the_named_streams_arrive(node: Node) -> None:
    with Subscriber(node.endpoint, ["hall"]) as subscriber:
        node.await_subscription(b"skelanon/1/hall/")
        node.frame(0, "hall-2")
        node.frame(0, "door")
        node.frame(1, "hall")
        assert sequences(subscriber, 1) == [1]
        assert list(subscriber.streams) == ["hall"]


def test_hostile_messages_are_counted_and_skipped(node: Node, subscriber: Subscriber, events: list[Event]) -> None:
    topic = b"skelanon/1/hall/frame"
    node.frame(10)
    hostile = [
        [topic],
        [topic, b""],
        [topic, b"\xdd\xff\xff\xff\xff"],
        [topic, b"\x91" * 10_000],
        [topic, b"{}", b"{}"],
        [b"skelanon/1/", b"\x80"],
        [b"skelanon/1/hall/raw", b"\x80"],
        [b"skelanon/1/hall/schema", b"\x80"],
        [b"skelanon/1/hall/status", b"\xc1"],
    ]
    for message in hostile:
        node.socket.send_multipart(message)
    node.frame(9)  # does not grow
    node.frame(10)  # nor does this
    node.frame(11)
    assert sequences(subscriber, 2) == [10, 11]
    assert subscriber.malformed == len(hostile) + 2
    assert subscriber.streams["hall"].malformed == 7  # those whose two parts name the stream
    assert events == []


def test_a_message_of_another_stream_than_its_topic_is_refused(node: Node, subscriber: Subscriber) -> None:
    node.frame(0)
    node.send("frame", frame_of(1) | {"stream": "hall"}, "door")
    node.frame(1)
    assert sequences(subscriber, 2) == [0, 1]
    assert subscriber.malformed == 1
    assert list(subscriber.streams) == ["hall"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_oversized_message_costs_the_connection_for_a_while(
    host: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skelanon.stream.subscriber._RENEW_AFTER_S", 0.2)
    with Subscriber(node.endpoint.replace("127.0.0.1", host)) as subscriber:
        node.await_subscription()
        node.socket.send_multipart([b"skelanon/1/hall/frame", bytes(200_000)])
        node.await_reconnection(subscriber)
        node.frame(1)
        assert sequences(subscriber, 1) == [1]


def test_invented_streams_do_not_fill_memory(node: Node, subscriber: Subscriber) -> None:
    for number in range(1030):
        node.frame(0, f"s{number}")
    node.frame(1, "s0")
    assert len(sequences(subscriber, 1025)) == 1025
    assert len(subscriber.streams) == 1024
    assert subscriber.malformed == 6


def test_events_are_logged_by_default(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    with Subscriber(node.endpoint) as subscriber, caplog.at_level(logging.WARNING):
        node.await_subscription()
        node.frame(0)
        node.frame(3)
        assert sequences(subscriber, 2) == [0, 3]
    assert caplog.messages == ["Gap(stream='hall', lost=2)"]


def test_repr_of_a_frame_shows_no_joints(node: Node, subscriber: Subscriber) -> None:
    node.frame(0)
    text = repr(subscriber.read(PATIENT_MS))
    assert "sequence=0" in text
    assert "joints" not in text


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"endpoint": "nonsense"}, "cannot connect to `endpoint` 'nonsense'"),
        ({"streams": "hall"}, r"`streams` is a list of names: \['hall'\]"),
        ({"streams": []}, "names at least one stream"),
        ({"streams": ["Hall"]}, "stream name 'Hall'"),
        ({"stall_after_s": 0}, "`stall_after_s` is above 0"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Subscriber(**({"endpoint": "tcp://127.0.0.1:7400"} | arguments))


def test_curve_keys_are_checked_and_not_shown() -> None:
    public, secret = zmq.curve_keypair()
    assert secret.decode() not in repr(ClientKeys(public, secret, public))
    with pytest.raises(ValueError, match="CURVE keys have 40 characters"):
        ClientKeys(public, secret[:-1], public)


def test_curve_lets_frames_through_with_the_right_key_only(events: list[Event]) -> None:
    (server, server_secret), (public, secret), (other, _) = (zmq.curve_keypair() for _ in range(3))
    node = Node(curve_server=True, curve_publickey=server, curve_secretkey=server_secret)
    try:
        right = Subscriber(node.endpoint, curve=ClientKeys(public, secret, server))
        wrong = Subscriber(
            node.endpoint, ["hall"], curve=ClientKeys(public, secret, other), stall_after_s=0.05, on_event=events.append
        )
        with right, wrong:
            node.await_subscription()
            node.frame(0)
            assert sequences(right, 1) == [0]
            assert wrong.read(150) is None
            assert [event.stream for event in events] == ["hall"]
    finally:
        node.close()


def test_the_client_of_the_specification_reads_live_messages(node: Node, tmp_path: Path) -> None:
    snippet = re.search(r"```python\n(.*?)```", SPECIFICATION, re.DOTALL)
    assert snippet is not None
    imports = set(re.findall(r"^import (\w+)", snippet[1], re.MULTILINE))
    assert imports == {"struct", "sys", "msgpack", "zmq"}
    client = tmp_path / "client.py"
    client.write_text(snippet[1], "utf-8")
    command = [sys.executable, "-W", "error::SyntaxWarning", str(client), node.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        node.await_subscription()
        joints = np.zeros((25, 3), "<f4")
        joints[3, 1] = 1.5
        node.schema()
        node.frame(4, bodies=[{"id": 77, "joints": joints.tobytes(), "tracking": b""}])
        node.frame(7, state="empty", bodies=[])
        node.epoch = 2
        node.frame(1, state="fault", bodies=[])
        node.status("stopped")
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines() == [
        "hall axes: camera model: template",
        "hall 4 body 77 head at 1.500 m lost 0",
        "hall 7 empty lost 2",
        "hall the node was restarted",
        "hall 1 fault lost 1",
    ]
