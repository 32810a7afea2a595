"""Recordings: what a Subscriber had is what is read back, byte for byte and event for event."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
from mcap.reader import make_reader

from skelanon.stream.received import Event, Gap, Message, ReceivedFrame, Restart, Resume, Stall
from skelanon.stream.recording import Recorder, RecordError, Recording, mcap_file
from skelanon.stream.recording.mcap_file import McapFile
from skelanon.stream.subscriber import Subscriber
from skelanon.stream.window import Window
from skelanon.stream.wire import decode_frame, decode_schema, decode_status, topic

if TYPE_CHECKING:
    from tests.conftest import RawNode

pytestmark = pytest.mark.timeout(60)

PATIENT_MS = 10_000
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
GOLDEN = Path(__file__).parent / "golden" / "wire-1"
DECODERS: dict[str, Any] = {"frame": decode_frame, "schema": decode_schema, "status": decode_status}


def message(kind: str, **changes: object) -> tuple[Message, bytes]:
    """A golden message of a kind, changed."""
    name = "frame-ok" if kind == "frame" else kind
    payload = msgpack.packb(msgpack.unpackb((GOLDEN / f"{name}.bin").read_bytes()) | changes)
    return DECODERS[kind](payload), payload


def write(target: Recorder | McapFile, kind: str, at_s: float, **changes: object) -> bytes:
    """Record a message that came `at_s` seconds after T0."""
    decoded, payload = message(kind, **changes)
    (target.add if isinstance(target, McapFile) else target.write)(decoded, payload, T0 + round(at_s * SECOND))
    return payload


def contents(path: Path) -> list[tuple[str, bytes]]:
    """Topics and messages of a whole file, as the package `mcap` reads them."""
    with path.open("rb") as file:
        return [(channel.topic, read.data) for _, channel, read in make_reader(file).iter_messages()]


def same(one: ReceivedFrame, other: ReceivedFrame) -> bool:
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("joints", "ids", "tracking"))
    plain = ("stream", "epoch", "sequence", "captured_ns", "published_ns", "received_ns", "state", "dropped", "lost")
    return arrays and all(getattr(one, name) == getattr(other, name) for name in plain)


def test_what_a_subscriber_had_is_read_back(raw_node: RawNode, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    heard: list[Event] = []
    received, payloads = [], []
    with Recorder(path) as recorder:

        def note(decoded: Message, payload: bytes, received_ns: int) -> None:
            payloads.append(payload)
            recorder.write(decoded, payload, received_ns)

        with Subscriber(raw_node.endpoint, on_event=heard.append, stall_after_s=60, on_message=note) as subscriber:
            raw_node.await_subscription()
            raw_node.schema()
            raw_node.frame(4, later="a field of a later node")
            raw_node.frame(9, bodies=[])
            raw_node.frame(9)  # refused, and not recorded
            raw_node.status("ok")
            raw_node.epoch = 2
            raw_node.frame(2, "door", state="empty", bodies=[])
            raw_node.frame(3)
            received = [frame for _ in range(4) if (frame := subscriber.read(PATIENT_MS)) is not None]
            assert subscriber.malformed == 1
    assert recorder.frames == 4
    assert recorder.size == path.stat().st_size
    read_events: list[Event] = []
    recording = Recording(path, on_event=read_events.append)
    frames = list(recording)
    assert [frame.sequence for frame in frames] == [4, 9, 2, 3]
    assert all(same(one, other) for one, other in zip(frames, received, strict=True))
    assert read_events == heard == [Gap("hall", 4), Restart("hall"), Gap("hall", 3)]
    for mine, theirs in zip(recording.streams.values(), subscriber.streams.values(), strict=True):
        assert (mine.frames, mine.lost, mine.restarts, mine.epoch) == (
            theirs.frames, theirs.lost, theirs.restarts, theirs.epoch,
        )  # fmt: skip
    assert [data for _, data in contents(path)] == payloads
    assert recording.damage[path].describe() is None
    assert [frame.sequence for frame in recording] == [4, 9, 2, 3]


def test_a_window_takes_a_recording(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mcap") as recorder:
        for sequence in range(10):
            write(recorder, "frame", sequence / 30, sequence=sequence)
    window = Window(4)
    for frame in Recording(tmp_path / "a.mcap", ["hall"]):
        window.push(frame)
    assert window.full
    assert window.keypoint().shape == (2, 4, 25, 3)


def test_silence_in_a_recording_is_a_stall(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mcap") as recorder:
        write(recorder, "frame", 0, sequence=0)
        write(recorder, "status", 1.0)
        write(recorder, "status", 2.5)
        write(recorder, "frame", 3.0, sequence=1)
    heard: list[Event] = []
    assert len(list(Recording(tmp_path / "a.mcap", on_event=heard.append))) == 2
    assert heard[1:] == [Resume("hall")]
    assert heard[0] == Stall("hall", 2.5)


def test_only_the_streams_asked_for_are_read(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mcap") as recorder:
        for stream in ("door", "hall"):
            write(recorder, "frame", 0, stream=stream)
    assert [frame.stream for frame in Recording(tmp_path / "a.mcap")] == ["door", "hall"]
    only = Recording(tmp_path / "a.mcap", ["hall"])
    assert [frame.stream for frame in only] == ["hall"]
    assert only.names() == ["hall"]


def test_the_file_explains_itself(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mcap") as recorder:
        for kind in ("schema", "frame", "status"):
            write(recorder, kind, 1)
    with (tmp_path / "a.mcap").open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert reader.get_header().profile == "skelanon"
        assert [entry.metadata for entry in reader.iter_metadata()] == [{"format": "1", "wire": "1"}]
        stored = {channel.topic: (schema, read) for schema, channel, read in reader.iter_messages()}
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == 3
    assert {channel.message_encoding for channel in summary.channels.values()} == {"msgpack"}
    for kind in ("frame", "schema", "status"):
        schema, read = stored[topic("hall", kind).decode()]  # type: ignore[arg-type]
        assert schema is not None
        assert (schema.name, schema.encoding) == (f"skelanon.1.{kind}", "jsonschema")
        explained = json.loads(schema.data)
        decoded = msgpack.unpackb(read.data)
        assert explained["type"] == "object"
        assert set(explained["properties"]) == set(decoded)
        assert read.log_time == T0 + SECOND
        assert read.publish_time == (decoded["published_ns"] if kind == "frame" else read.log_time)
    frame = json.loads(stored[topic("hall", "frame").decode()][0].data)  # type: ignore[union-attr]
    assert "little-endian IEEE 754 float32" in frame["$defs"]["Body"]["properties"]["joints"]["description"]


def rotate_at(messages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a folder become a minute old when they hold so many messages."""
    monkeypatch.setattr(McapFile, "age_s", property(lambda file: 60.0 * (file.messages >= messages)))


def test_a_folder_gets_file_after_file_each_with_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate_at(3, monkeypatch)
    folder = tmp_path / "new" / "folder"
    with Recorder(folder, max_minutes=1) as recorder:
        schema = write(recorder, "schema", 0, epoch=7)
        frames = [write(recorder, "frame", sequence, sequence=sequence, epoch=7) for sequence in range(6)]
        assert recorder.files == 3
    paths = sorted(folder.iterdir())
    assert [path.name[-10:] for path in paths] == ["-0001.mcap", "-0002.mcap", "-0003.mcap"]
    assert [[data for _, data in contents(path)] for path in paths] == [
        [schema, *frames[first : first + 2]] for first in (0, 2, 4)
    ]
    assert recorder.size == sum(path.stat().st_size for path in paths)
    recording = Recording(folder, on_event=_fail)
    assert [frame.sequence for frame in recording] == list(range(6))
    assert set(recording.damage) == set(paths)


def _fail(event: Event) -> None:
    raise AssertionError(f"unexpected: {event}")


def test_a_file_of_a_new_epoch_does_not_begin_with_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate_at(2, monkeypatch)
    with Recorder(tmp_path / "folder", max_minutes=1) as recorder:
        write(recorder, "schema", 0, epoch=1)
        for sequence, epoch in enumerate((1, 1, 2, 2)):
            write(recorder, "frame", 1, sequence=sequence, epoch=epoch)
    heard: list[Event] = []
    assert [frame.lost for frame in Recording(tmp_path / "folder", on_event=heard.append)] == [0, 0, 2, 0]
    assert heard == [Restart("hall"), Gap("hall", 2)]
    *_, newest = sorted((tmp_path / "folder").iterdir())
    assert [name for name, _ in contents(newest)] == ["skelanon/1/hall/frame"] * 2


def test_what_is_older_than_the_flush_period_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(mcap_file, "time", SimpleNamespace(monotonic=lambda: now_s))
    with Recorder(tmp_path / "a.mcap") as recorder:
        for sequence in range(20):
            write(recorder, "frame", sequence / 10, sequence=sequence)
            recorder.flush()
            there = [frame.sequence for frame in Recording(tmp_path / "a.mcap", on_event=_fail)]
            newest_s = there[-1] / 10 if there else -0.1
            assert sequence / 10 - newest_s <= mcap_file.FLUSH_S + 0.11
            now_s += 0.1
        assert recorder.size == (tmp_path / "a.mcap").stat().st_size


def test_a_recording_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(RecordError, match=r"a\.mcap exists already; choose another name"):
        Recorder(path)
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(RecordError, match=r"file exists already"):
        Recorder(tmp_path / "file")
    assert path.read_bytes() == (tmp_path / "file").read_bytes() == b"precious"
    with pytest.raises(RecordError, match=r"cannot record into .*no/a\.mcap: No such file or directory"):
        Recorder(tmp_path / "no" / "a.mcap")
    with pytest.raises(RecordError, match="`max_minutes` is 0"):
        Recorder(tmp_path / "b.mcap", max_minutes=0)


def test_nothing_recorded_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.mcap")
    assert (tmp_path / "a.mcap").exists()
    recorder.close()
    recorder.close()
    assert not list(tmp_path.iterdir())
    assert recorder.size == 0
    for use in (recorder.flush, lambda: write(recorder, "frame", 0)):
        with pytest.raises(RuntimeError, match="the Recorder is closed"):
            use()


def test_a_disk_that_fails_later_stops_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcap_file, "SYNC_S", 0.01)
    monkeypatch.setattr(mcap_file, "FLUSH_S", 0.0)
    monkeypatch.setattr(os, "fsync", _broken_disk)
    recorder = Recorder(tmp_path / "a.mcap")
    write(recorder, "frame", 0)
    recorder.flush()
    with pytest.raises(RecordError, match=r"cannot record into .*a\.mcap: Input/output error; what was recorded"):
        _flush_until_it_fails(recorder)
    with pytest.raises(RecordError, match="Input/output error"):
        write(recorder, "frame", 1)
    recorder.close()
    assert len(list(Recording(tmp_path / "a.mcap"))) == 1


def _flush_until_it_fails(recorder: Recorder) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        recorder.flush()


def _broken_disk(descriptor: int) -> None:
    raise OSError(5, os.strerror(5))


def test_waiting_for_the_disk_does_not_hold_up_what_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    waiting = threading.Event()

    def slow(descriptor: int) -> None:
        waiting.set()
        assert let_go.wait(30)

    monkeypatch.setattr(mcap_file, "SYNC_S", 0.01)
    monkeypatch.setattr(mcap_file, "FLUSH_S", 0.0)
    monkeypatch.setattr(os, "fsync", slow)
    with Recorder(tmp_path / "a.mcap") as recorder:
        write(recorder, "frame", 0, sequence=0)
        recorder.flush()
        assert waiting.wait(20)
        for sequence in range(1, 50):
            write(recorder, "frame", 1, sequence=sequence)
            recorder.flush()
        assert len(list(Recording(tmp_path / "a.mcap", on_event=_fail))) == 50
        let_go.set()


def test_without_mcap_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(RecordError, match=r"pip install 'skelanon\[record\]'"):
        Recorder(tmp_path / "a.mcap")
    assert not list(tmp_path.iterdir())
