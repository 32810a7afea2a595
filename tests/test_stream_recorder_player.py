"""A recording that is played: to a subscriber it is a node."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest

from skelanon.stream import recording as package
from skelanon.stream.errors import PublishError
from skelanon.stream.received import Event, Gap, ReceivedFrame, Restart
from skelanon.stream.recording import Player, Recorder, RecordError, Recording, player
from skelanon.stream.subscriber import Subscriber
from skelanon.stream.wire import decode_frame, decode_schema, decode_status

pytestmark = pytest.mark.timeout(60)

PATIENT_MS = 10_000
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
LATENCY = 2_000_000
GOLDEN = Path(__file__).parent / "golden" / "wire-1"
DECODERS: dict[str, Any] = {"frame": decode_frame, "schema": decode_schema, "status": decode_status}
Write = Callable[..., None]
Play = Callable[..., Any]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Records golden messages, changed, which came so many seconds after T0."""
    with Recorder(tmp_path / "a.mcap") as recorder:

        def write(kind: str, at_s: float = 0, **changes: object) -> None:
            name = "frame-ok" if kind == "frame" else kind
            captured_ns = T0 + round(at_s * SECOND)
            if kind == "frame":
                changes = {"captured_ns": captured_ns, "published_ns": captured_ns + LATENCY} | changes
            payload = msgpack.packb(msgpack.unpackb((GOLDEN / f"{name}.bin").read_bytes()) | changes)
            recorder.write(DECODERS[kind](payload), payload, captured_ns + 2 * LATENCY)

        yield write


def _quiet(event: Event) -> None:
    pass


@contextmanager
def playing(path: Path, endpoint: str, **options: Any) -> Iterator[Player]:
    """A player in a thread of its own, as it must be; its error is raised at the end."""
    made: list[Player | BaseException] = []
    ready = threading.Event()

    def run() -> None:
        try:
            with Player(Recording(path, on_event=_quiet), endpoint, **options) as player:
                made.append(player)
                ready.set()
                player.run()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            made.append(error)
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(20)
    if isinstance(made[0], Player):
        yield made[0]
        made[0].stop()
    thread.join(20)
    assert not thread.is_alive()
    if isinstance(made[-1], BaseException):
        raise made[-1]


def heard(subscriber: Subscriber, stream: str = "hall") -> list[ReceivedFrame]:
    """Every frame until the stream stops."""
    frames = []
    deadline = time.monotonic() + 30
    while stream not in subscriber.streams or not subscriber.streams[stream].stopped:
        assert time.monotonic() < deadline, "the stream does not end"
        frame = subscriber.read(50)
        if frame is not None:
            frames.append(frame)
    return frames


def test_a_subscriber_hears_what_was_recorded(write: Write, tmp_path: Path, ipc: str) -> None:
    write("schema", epoch=5)
    for sequence in range(100, 110):
        write("frame", sequence, sequence=sequence + 3 * (sequence > 104), epoch=5, dropped=sequence % 3)
    write("status", 200, state="ok", epoch=5)
    recorded = msgpack.unpackb((GOLDEN / "frame-ok.bin").read_bytes())
    close(write)
    events: list[Event] = []
    began_ns = time.time_ns()
    with (
        Subscriber(ipc, on_event=events.append) as subscriber,
        playing(tmp_path / "a.mcap", ipc, fast=True, wait_for=1),
    ):
        frames = heard(subscriber)
        stats = subscriber.streams["hall"]
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]
    assert events == [Gap("hall", 3)]
    assert subscriber.malformed == 0
    assert stats.schema is not None
    assert {frame.epoch for frame in frames} == {stats.schema.epoch}
    assert stats.epoch != 5
    for frame in frames:
        assert began_ns < frame.published_ns < time.time_ns()
        assert frame.published_ns - frame.captured_ns == LATENCY
        assert frame.ids == tuple(body["id"] for body in recorded["bodies"])
        assert frame.joints.tobytes() == b"".join(body["joints"] for body in recorded["bodies"])
        assert frame.tracking is not None
        assert frame.tracking.tobytes() == b"".join(body["tracking"] for body in recorded["bodies"])
    assert [frame.dropped for frame in frames] == [sequence % 3 for sequence in range(100, 110)]


def close(write: Write) -> None:
    """Finish the recording that the fixture has open."""
    recorder = write.__closure__[0].cell_contents  # type: ignore[attr-defined]
    recorder.close()
