"""The subscriber against raw sockets: what arrives, what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zmq

from skelanon.sensors.keys import ClientKeys
from skelanon.stream.inlet import Inlet
from skelanon.stream.subscriber import Event, Subscriber

if TYPE_CHECKING:
    from tests.conftest import RawNode

pytestmark = pytest.mark.timeout(30)

SPECIFICATION = (Path(__file__).parents[1] / "docs" / "wire.md").read_text("utf-8")
PATIENT_MS = 10_000
"""Far longer than any message takes; only a failing test waits for it."""


def sequences(subscriber: Subscriber, count: int) -> list[int]:
    frames = [subscriber.read(PATIENT_MS) for _ in range(count)]
    return [frame.sequence for frame in frames if frame is not None]


def test_a_frame_arrives_whole(raw_node: RawNode, subscriber: Subscriber) -> None:
    bodies = [
        {"id": i, "joints": np.full((25, 3), i, "<f4").tobytes(), "tracking": bytes([i] * 25)} for i in (2, 1)
    ]  # fmt: skip
    raw_node.frame(7, captured_ns=1, published_ns=2, dropped=3, bodies=bodies)
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


def test_a_frame_without_tracking_or_bodies(raw_node: RawNode, subscriber: Subscriber) -> None:
    raw_node.frame(0, bodies=[{"id": 1, "joints": bytes(300), "tracking": b""}])
    raw_node.frame(1, state="empty", bodies=[])
    untracked, empty = subscriber.read(PATIENT_MS), subscriber.read(PATIENT_MS)
    assert untracked is not None
    assert untracked.tracking is None
    assert empty is not None
    assert (empty.state, empty.ids, empty.joints.shape) == ("empty", (), (0, 25, 3))


def test_iteration_yields_every_frame_until_closed(raw_node: RawNode, subscriber: Subscriber) -> None:
    for sequence in range(50):
        raw_node.frame(sequence)
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


def test_latest_drains_a_thousand_frames(raw_node: RawNode, subscriber: Subscriber, events: list[Event]) -> None:
    for sequence in range(1000):
        raw_node.frame(sequence)
        raw_node.frame(sequence, "door")
    raw_node.frame(0, "end")
    newest = subscriber.latest(PATIENT_MS)
    while "end" not in newest:  # what had not arrived at the first drain
        newest |= subscriber.latest(PATIENT_MS)
    assert {name: frame.sequence for name, frame in newest.items()} == {"hall": 999, "door": 999, "end": 0}
    assert subscriber.read(0) is None
    assert (subscriber.streams["hall"].frames, subscriber.streams["hall"].lost, events) == (1000, 0, [])


def test_only_the_named_streams_arrive(raw_node: RawNode) -> None:
    with Subscriber(raw_node.endpoint, ["hall"]) as subscriber:
        raw_node.await_subscription(b"skelanon/1/hall/")
        raw_node.frame(0, "hall-2")
        raw_node.frame(0, "door")
        raw_node.frame(1, "hall")
        assert sequences(subscriber, 1) == [1]
        assert list(subscriber.streams) == ["hall"]


def test_hostile_messages_are_counted_and_skipped(
    raw_node: RawNode, subscriber: Subscriber, events: list[Event]
) -> None:
    topic = b"skelanon/1/hall/frame"
    raw_node.frame(10)
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
        raw_node.socket.send_multipart(message)
    raw_node.frame(9)  # does not grow
    raw_node.frame(10)  # nor does this
    raw_node.frame(11)
    assert sequences(subscriber, 2) == [10, 11]
    assert subscriber.malformed == len(hostile) + 2
    assert subscriber.streams["hall"].malformed == 7  # those whose two parts name the stream
    assert events == []


def test_a_message_of_another_stream_than_its_topic_is_refused(raw_node: RawNode, subscriber: Subscriber) -> None:
    raw_node.frame(0)
    raw_node.send("frame", raw_node.frame_of(1) | {"stream": "hall"}, "door")
    raw_node.frame(1)
    assert sequences(subscriber, 2) == [0, 1]
    assert subscriber.malformed == 1
    assert list(subscriber.streams) == ["hall"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_oversized_message_costs_the_connection_for_a_while(
    host: str, raw_node: RawNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skelanon.stream.inlet.RENEW_AFTER_S", (0.2,))
    with Subscriber(raw_node.endpoint.replace("127.0.0.1", host)) as subscriber:
        raw_node.await_subscription()
        raw_node.socket.send_multipart([b"skelanon/1/hall/frame", bytes(200_000)])
        raw_node.await_reconnection(subscriber)
        raw_node.frame(1)
        assert sequences(subscriber, 1) == [1]


def test_a_silent_connection_is_made_anew_ever_less_often_until_something_comes(
    raw_node: RawNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, renewed = [1000.0], []
    with zmq.Context() as context:
        inlet = Inlet(context, raw_node.endpoint, [b"skelanon/1/"], None)
        raw_node.await_subscription()
        raw_node.frame(0)
        assert inlet.socket.poll(5000)
        with monkeypatch.context() as patched:
            patched.setattr("skelanon.stream.inlet.time.monotonic", lambda: now[0])
            assert inlet.receive() is not None
            for _ in range(200):
                now[0] += 0.1
                if inlet.renew_if_silent():
                    renewed.append(now[0] - 1000)
            assert renewed == pytest.approx([1.5, 4.5, 9.5, 14.5, 19.5], abs=0.11)
            until = time.time() + 10
            while not inlet.socket.poll(10):  # of five connections the last one holds
                raw_node.frame(1)
                assert time.time() < until
            assert inlet.receive() is not None
            now[0] += 1.6
            assert inlet.renew_if_silent()
        inlet.close()


def test_invented_streams_do_not_fill_memory(raw_node: RawNode, subscriber: Subscriber) -> None:
    for number in range(1030):
        raw_node.frame(0, f"s{number}")
    raw_node.frame(1, "s0")
    assert len(sequences(subscriber, 1025)) == 1025
    assert len(subscriber.streams) == 1024
    assert subscriber.malformed == 6


def test_repr_of_a_frame_shows_no_joints(raw_node: RawNode, subscriber: Subscriber) -> None:
    raw_node.frame(0)
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


def test_curve_lets_frames_through_with_the_right_key_only(
    make_raw_node: Callable[..., RawNode], events: list[Event]
) -> None:
    (server, server_secret), (public, secret), (other, _) = (zmq.curve_keypair() for _ in range(3))
    raw_node = make_raw_node(curve_server=True, curve_publickey=server, curve_secretkey=server_secret)
    right = Subscriber(raw_node.endpoint, curve=ClientKeys(public, secret, server))
    wrong = Subscriber(
        raw_node.endpoint, ["hall"], curve=ClientKeys(public, secret, other), stall_after_s=0.05, on_event=events.append
    )
    with right, wrong:
        raw_node.await_subscription()
        raw_node.frame(0)
        assert sequences(right, 1) == [0]
        assert wrong.read(150) is None
        assert [event.stream for event in events] == ["hall"]


def test_the_client_of_the_specification_reads_live_messages(raw_node: RawNode, tmp_path: Path) -> None:
    snippet = re.search(r"```python\n(.*?)```", SPECIFICATION, re.DOTALL)
    assert snippet is not None
    imports = set(re.findall(r"^import (\w+)", snippet[1], re.MULTILINE))
    assert imports == {"struct", "sys", "msgpack", "zmq"}
    client = tmp_path / "client.py"
    client.write_text(snippet[1], "utf-8")
    command = [sys.executable, "-W", "error::SyntaxWarning", str(client), raw_node.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        raw_node.await_subscription()
        joints = np.zeros((25, 3), "<f4")
        joints[3, 1] = 1.5
        raw_node.schema()
        raw_node.frame(4, bodies=[{"id": 77, "joints": joints.tobytes(), "tracking": b""}])
        raw_node.frame(7, state="empty", bodies=[])
        raw_node.epoch = 2
        raw_node.frame(1, state="fault", bodies=[])
        raw_node.status("stopped")
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines() == [
        "hall axes: camera model: template",
        "hall 4 body 77 head at 1.500 m lost 0",
        "hall 7 empty lost 2",
        "hall the node was restarted",
        "hall 1 fault lost 1",
    ]
