"""A recording that is played: to a subscriber it is a node."""

from __future__ import annotations

import ast
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
import zmq

from skelanon.stream import recording as package
from skelanon.stream.errors import PublishError
from skelanon.stream.received import Event, Gap, ReceivedFrame, Restart
from skelanon.stream.recording import Player, Recorder, RecordError, Recording
from skelanon.stream.recording import player as player_module
from skelanon.stream.subscriber import Subscriber
from skelanon.stream.wire import decode_frame, decode_schema, decode_status

pytestmark = pytest.mark.timeout(60)

PATIENT_MS = 10_000
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
LATENCY = 2_000_000
GOLDEN = Path(__file__).parent / "golden" / "wire-1"
DECODERS: dict[str, Any] = {"frame": decode_frame, "schema": decode_schema, "status": decode_status}
RECORDED: dict[str, Any] = msgpack.unpackb((GOLDEN / "frame-ok.bin").read_bytes())


def record(path: Path, *entries: tuple[str, float, dict[str, Any]]) -> Recording:
    """A recording of golden messages: kind, seconds after T0, changes."""
    with Recorder(path) as recorder:
        for kind, at_s, changes in entries:
            captured_ns = T0 + round(at_s * SECOND)
            times = {"captured_ns": captured_ns, "published_ns": captured_ns + LATENCY} if kind == "frame" else {}
            golden = GOLDEN / f"{'frame-ok' if kind == 'frame' else kind}.bin"
            payload = msgpack.packb(msgpack.unpackb(golden.read_bytes()) | times | changes)
            recorder.write(DECODERS[kind](payload), payload, captured_ns + 2 * LATENCY)
    return Recording(path, on_event=_quiet)


def frames(*sequences: int, period_s: float = 1.0, **changes: object) -> list[tuple[str, float, dict[str, Any]]]:
    return [("frame", period_s * i, {"sequence": sequence, **changes}) for i, sequence in enumerate(sequences)]


def _quiet(event: Event) -> None:
    pass


@contextmanager
def playing(recording: Recording, endpoint: str, **options: Any) -> Iterator[Player]:
    """A player in a thread of its own, as it must be; its error is raised at the end."""
    made: queue.Queue[Player | BaseException] = queue.Queue()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Player(recording, endpoint, **options) as player:
                made.put(player)
                player.run()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            made.put(error)
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    player = made.get(timeout=20)
    if isinstance(player, Player):
        try:
            yield player
        finally:
            player.stop()
            thread.join(20)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def heard(subscriber: Subscriber, stream: str = "hall") -> list[ReceivedFrame]:
    """Every frame until the stream stops."""
    received = []
    deadline = time.monotonic() + 30
    while stream not in subscriber.streams or not subscriber.streams[stream].stopped:
        assert time.monotonic() < deadline, "the stream does not end"
        frame = subscriber.read(50)
        if frame is not None:
            received.append(frame)
    return received


def test_a_subscriber_hears_what_was_recorded(tmp_path: Path, ipc: str) -> None:
    recording = record(
        tmp_path / "a.mcap",
        ("schema", 0, {"epoch": 5}),
        *frames(100, 101, 105, 106, epoch=5, dropped=2),
        ("status", 9, {"state": "ok", "epoch": 5}),
    )
    events: list[Event] = []
    began_ns = time.time_ns()
    with (
        Subscriber(ipc, on_event=events.append) as subscriber,
        playing(recording, ipc, fast=True, wait_for=1) as player,
    ):
        received = heard(subscriber)
        stats = subscriber.streams["hall"]
    assert player.frames == 4
    assert [frame.sequence for frame in received] == [0, 1, 5, 6]
    assert events == [Gap("hall", 3)]
    assert subscriber.malformed == 0
    assert stats.schema is not None
    assert {frame.epoch for frame in received} == {stats.schema.epoch} == {stats.epoch}
    assert stats.epoch != 5
    for frame in received:
        assert began_ns < frame.published_ns < time.time_ns()
        assert frame.published_ns - frame.captured_ns == LATENCY
        assert frame.dropped == 2
        assert frame.ids == tuple(body["id"] for body in RECORDED["bodies"])
        assert frame.joints.tobytes() == b"".join(body["joints"] for body in RECORDED["bodies"])
        assert frame.tracking is not None
        assert frame.tracking.tobytes() == b"".join(body["tracking"] for body in RECORDED["bodies"])


def test_original_times_and_fields_of_others(tmp_path: Path, ipc: str) -> None:
    recording = record(tmp_path / "a.mcap", *frames(0, 1, unknown=[1, 2, {"raw": b"secret-of-another"}]))
    with (
        zmq.Context() as context,
        context.socket(zmq.SUB) as socket,
        playing(recording, ipc, fast=True, wait_for=1, timestamps="original"),
    ):
        socket.setsockopt(zmq.LINGER, 0)
        socket.subscribe(b"")
        socket.connect(ipc)
        messages: list[list[bytes]] = []
        while not messages or not messages[-1][0].endswith(b"/status"):
            assert socket.poll(PATIENT_MS)
            messages.append(socket.recv_multipart())
    sent = [msgpack.unpackb(content) for _, content in messages[:2]]
    assert [message["captured_ns"] for message in sent] == [T0, T0 + SECOND]
    assert set(sent[0]) == set(RECORDED)
    assert not any(b"secret" in content for _, content in messages)
    assert msgpack.unpackb(messages[2][1])["state"] == "stopped"


def test_restarts_are_played_and_their_losses(tmp_path: Path, ipc: str) -> None:
    recording = record(
        tmp_path / "a.mcap",
        *frames(7, 8, epoch=1),
        ("status", 3, {"epoch": 1, "state": "stopped"}),
        ("frame", 4, {"sequence": 2, "epoch": 2}),
        ("frame", 5, {"sequence": 0, "epoch": 2, "stream": "door"}),
    )
    events: list[Event] = []
    with Subscriber(ipc, on_event=events.append) as subscriber, playing(recording, ipc, fast=True, wait_for=1):
        received = [subscriber.read(PATIENT_MS) for _ in range(4)]
    assert [(frame.stream, frame.sequence) for frame in received if frame] == [
        ("hall", 0), ("hall", 1), ("hall", 2), ("door", 0),
    ]  # fmt: skip
    assert events == [Restart("hall"), Gap("hall", 2)]
    _, first, second, door = (frame.epoch for frame in received if frame)
    assert first != second == door


def test_a_loop_begins_again_as_a_new_run_without_a_loss(tmp_path: Path, ipc: str) -> None:
    recording = record(tmp_path / "a.mcap", *frames(50, 51, 52))
    events: list[Event] = []
    with (
        Subscriber(ipc, on_event=events.append) as subscriber,
        playing(recording, ipc, fast=True, loop=True, wait_for=1) as player,
    ):
        received = [subscriber.read(PATIENT_MS) for _ in range(9)]
        player.stop()
    assert [frame.sequence for frame in received if frame] == [0, 1, 2] * 3
    assert len({frame.epoch for frame in received if frame}) == 3
    assert set(events) == {Restart("hall")}


def test_the_pace_is_the_recorded_one_times_the_rate(tmp_path: Path, ipc: str) -> None:
    recording = record(tmp_path / "a.mcap", *frames(*range(11), period_s=0.5))
    with Subscriber(ipc) as subscriber, playing(recording, ipc, rate=10.0, wait_for=1):
        received = heard(subscriber)
    times_s = np.array([frame.published_ns for frame in received]) / SECOND
    assert len(times_s) == 11
    assert 0.49 < times_s[-1] - times_s[0] < 5  # 0.5 s; machines may be slow
    assert (np.diff(times_s) > 0.001).all()


def test_long_silence_is_cut_short(tmp_path: Path, ipc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_module, "LONGEST_PAUSE_NS", SECOND // 20)
    recording = record(tmp_path / "a.mcap", *frames(0, 1, 2, period_s=3600))
    with Subscriber(ipc) as subscriber, playing(recording, ipc, wait_for=1):
        assert len(heard(subscriber)) == 3


def test_a_newcomer_gets_the_schema_at_once(tmp_path: Path, ipc: str) -> None:
    recording = record(tmp_path / "a.mcap", ("schema", 0, {"epoch": 3}), *frames(0, 1, epoch=3, period_s=60.0))
    with Subscriber(ipc) as first, playing(recording, ipc, wait_for=1) as player:
        assert first.read(PATIENT_MS) is not None
        with Subscriber(ipc) as second:
            deadline = time.monotonic() + 3  # the next message of the recording comes later than that
            while not second.streams and time.monotonic() < deadline:
                second.read(20)
            assert second.streams["hall"].schema is not None
        player.stop()


def test_stopping_is_quick_even_when_a_subscriber_does_not_read(tmp_path: Path, ipc: str) -> None:
    recording = record(tmp_path / "a.mcap", *frames(*range(400), period_s=0))
    with (
        zmq.Context() as context,
        context.socket(zmq.SUB) as socket,
        playing(recording, ipc, fast=True, loop=True, wait_for=1) as player,
    ):
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.subscribe(b"")
        socket.connect(ipc)
        before = -1
        while player.frames > before:  # until it is held up
            before = player.frames
            time.sleep(0.3)
        began = time.monotonic()
        player.stop()
    assert before > 0
    assert time.monotonic() - began < 5


def test_what_cannot_be_played_is_refused(tmp_path: Path, ipc: str) -> None:
    recording = record(tmp_path / "a.mcap", *frames(0))
    with pytest.raises(PublishError, match=r"played on this machine only, .* not at tcp://0\.0\.0\.0:7400"):
        Player(recording, "tcp://0.0.0.0:7400")
    with pytest.raises(RecordError, match="`rate` is 0"):
        Player(recording, ipc, rate=0)
    (tmp_path / "node").write_bytes(b"")
    with pytest.raises(PublishError, match="a file is there that is not a socket"):
        Player(recording, ipc)
    with (
        Player(recording, "tcp://127.0.0.1:*") as one,
        pytest.raises(PublishError, match=r"cannot publish at tcp://127\.0\.0\.1:\d+: Address already in use"),
    ):
        Player(recording, one.endpoint)
    with (
        Player(Recording(tmp_path / "a.mcap", ["other"]), "tcp://127.0.0.1:*") as empty,
        pytest.raises(RecordError, match="nothing to play"),
    ):
        empty.run()


def test_no_way_leads_from_a_raw_frame_into_a_player() -> None:
    """It is handed a Recording, decodes that itself, and knows neither raw frames nor how to seal anonymous ones."""
    folder = Path(str(package.__file__)).parent
    for name in ("player", "reader", "records", "recorder", "mcap_file"):
        imported = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(ast.parse((folder / f"{name}.py").read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert imported
        imported -= {"skelanon.sensors.endpoint.is_local"}  # no frames there
        assert not {part for part in imported if part.startswith(("skelanon.sensors", "skelanon.stream.anonymous"))}
    for path in (folder.parent).glob("*.py"):
        if path.name != "__init__.py":
            assert "recording" not in {
                node.module for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
            }
