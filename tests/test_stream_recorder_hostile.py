"""Recordings that are cut off, damaged or made to do harm: read as far as they go, at no more cost than their size."""

import io
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from skelanon.stream.received import Event
from skelanon.stream.recording import Recorder, RecordError, Recording, mcap_file
from skelanon.stream.recording.records import MAGIC, MAX_CHANNELS, MAX_RECORD_BYTES
from skelanon.stream.wire import decode_frame, decode_schema

pytestmark = pytest.mark.timeout(60)

GOLDEN = Path(__file__).parent / "golden" / "wire-1"
FRAME: dict[str, Any] = msgpack.unpackb((GOLDEN / "frame-ok.bin").read_bytes())
SCHEMA = (GOLDEN / "schema.bin").read_bytes()
TOPIC = f"skelanon/1/{FRAME['stream']}/frame"
FRAMES = 12
MAX_MEMORY = 4 * MAX_RECORD_BYTES


def frame(sequence: int) -> bytes:
    return cast(bytes, msgpack.packb(FRAME | {"sequence": sequence}))


def _quiet(event: Event) -> None:
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording of a schema and some frames, in four chunks."""
    path = tmp_path_factory.mktemp("whole") / "a.mcap"
    with pytest.MonkeyPatch.context() as patch, Recorder(path) as recorder:
        patch.setattr(mcap_file, "FLUSH_S", 0.0)
        recorder.write(decode_schema(SCHEMA), SCHEMA, 1)
        for sequence in range(FRAMES):
            recorder.write(decode_frame(frame(sequence)), frame(sequence), sequence + 2)
            if sequence % 3 == 2:
                recorder.flush()
    return path.read_bytes()


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], tuple[list[int], Recording]]:
    """Reads bytes as a recording: the sequences of its frames, and the recording."""

    def read(data: bytes) -> tuple[list[int], Recording]:
        path = tmp_path / "a.mcap"
        path.write_bytes(data)
        recording = Recording(path, on_event=_quiet)
        return [frame.sequence for frame in recording], recording

    return read


def damage(recording: Recording) -> str | None:
    (found,) = recording.damage.values()
    return found.describe()


Read = Callable[[bytes], tuple[list[int], Recording]]


def test_a_recording_that_ends_anywhere_is_read_up_to_there(whole: bytes, read: Read) -> None:
    before = 0
    _, second, third, _ = chunk_starts(whole)
    for size in sorted({*range(0, len(whole), 61), *range(second - 9, second + 99), *range(third - 99, third + 9)}):
        sequences, recording = read(whole[:size])
        assert sequences == list(range(len(sequences)))
        assert len(sequences) >= before
        assert len(sequences) % 3 == 0
        before = len(sequences)
        if before < FRAMES:
            assert "it was not closed" in (damage(recording) or "")
    assert before == FRAMES
    assert damage(read(whole)[1]) is None


def chunk_starts(whole: bytes) -> list[int]:
    """Where the chunks begin."""
    summary = make_reader(io.BytesIO(whole)).get_summary()
    assert summary is not None
    return sorted(index.chunk_start_offset for index in summary.chunk_indexes)


def test_zeros_at_the_end_are_no_records(whole: bytes, read: Read) -> None:
    """What some file systems leave behind after a power cut."""
    sequences, recording = read(whole[: chunk_starts(whole)[1] + 90] + bytes(10_000))
    assert sequences == [0, 1, 2]
    assert re.fullmatch(r"it was not closed: \d{4} bytes at its end .*; 1 damaged records .*", damage(recording) or "")


def test_a_damaged_chunk_is_passed_over_and_counted(whole: bytes, read: Read) -> None:
    spoilt = bytearray(whole)
    spoilt[chunk_starts(whole)[1] + 400] ^= 0xFF
    sequences, recording = read(bytes(spoilt))
    assert sequences == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert damage(recording) == "1 damaged records were passed over"
    assert recording.streams["hall"].lost == 3


@pytest.mark.parametrize(
    "data", [b"no recording", b"\x89PNG\r\n\x1a\n", MAGIC[:5] + b"?"], ids=["text", "png", "almost"]
)
def test_another_file_is_refused(data: bytes, read: Read) -> None:
    with pytest.raises(RecordError, match=r"a\.mcap is not a recording: no MCAP file"):
        read(data)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"there is no recording .*none\.mcap"):
        Recording(tmp_path / "none.mcap")
    with pytest.raises(RecordError, match=r"there is no recording in .*: no `\.mcap` file"):
        Recording(tmp_path)
    (tmp_path / "folder.mcap").mkdir()
    with pytest.raises(RecordError, match=r"cannot read the recording .*folder\.mcap: Is a directory"):
        list(Recording(tmp_path))


def written(*messages: tuple[str, str, bytes], compression: CompressionType = CompressionType.NONE) -> bytes:
    """A file of another program: (topic, encoding, content) each."""
    file = io.BytesIO()
    writer = Writer(file, compression=compression)
    writer.start()
    for topic, encoding, content in messages:
        writer.add_message(writer.register_channel(topic, encoding, 0), 1, content, 1)
    writer.finish()  # type: ignore[no-untyped-call]
    return file.getvalue()


@pytest.mark.parametrize("compression", list(CompressionType))
def test_files_that_other_tools_packed_anew_are_read(compression: CompressionType, read: Read) -> None:
    sequences, recording = read(written(*[(TOPIC, "msgpack", frame(i)) for i in range(5)], compression=compression))
    assert sequences == [0, 1, 2, 3, 4]
    assert damage(recording) is None


def test_messages_of_others_are_left_out_and_bad_ones_counted(read: Read) -> None:
    sequences, recording = read(
        written(
            ("/camera/info", "msgpack", b"\x80"),
            (TOPIC, "json", b"{}"),
            ("skelanon/2/hall/frame", "msgpack", b"\x80"),
            (TOPIC, "msgpack", frame(3)),
            (TOPIC, "msgpack", frame(3)),
            (TOPIC, "msgpack", b"\x80"),
            (TOPIC.replace("hall", "door"), "msgpack", frame(4)),
        )
    )
    assert sequences == [3]
    assert recording.malformed == 3
    assert damage(recording) is None


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def chunk(compression: bytes, packed: bytes, size: int) -> bytes:
    return record(6, struct.pack("<QQQI", 0, 0, size, 0) + text(compression) + struct.pack("<Q", len(packed)) + packed)


HUGE = 1 << 30
BOMB = zstandard.ZstdCompressor().compress(bytes(64 << 20))
CHANNEL = record(4, struct.pack("<HH", 1, 0) + text(TOPIC.encode()) + text(b"msgpack") + text(b""))
BOMBS = {
    "a record longer than the file": struct.pack("<BQ", 6, 1 << 62),
    "a chunk that says it is huge": chunk(b"zstd", BOMB, HUGE),
    "a chunk that is larger than it says": chunk(b"zstd", BOMB, 1000),
    "a chunk packed beyond all reason": chunk(b"zstd", zstandard.compress(bytes(8 << 20)), 8 << 20),
    "a chunk of zeros": chunk(b"", bytes(900), 900),
    "an unknown compression": chunk(b"brotli", BOMB, 1000),
    "compressed data that is none": chunk(b"lz4", b"\0" * 100, 1000) + chunk(b"zstd", b"\0" * 100, 1000),
    "a record longer than its chunk": chunk(b"", struct.pack("<BQ", 5, 1 << 62), 9),
    "a record too short for its chunk": chunk(b"", b"\5\0\0", 3),
    "a message without a topic": record(5, bytes(30)),
    "a message that is cut off": CHANNEL + record(5, bytes(10)),
    "a channel that is cut off": record(4, b"\1") + record(4, b"\1\0\0\0\xff\xff\xff\xff"),
    "a chunk that is cut off": record(6, bytes(10)) + record(6, bytes(30)),
    "a text that is huge": record(6, bytes(28) + struct.pack("<I", 0xFFFFFFFF) + b"zstd"),
    "many channels with long names": b"".join(
        record(4, struct.pack("<HH", i, 0) + text(b"x" * 5000) + text(b"msgpack")) for i in range(MAX_CHANNELS + 10)
    ),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_harm_costs_no_more_than_its_size(bomb: bytes, read: Read) -> None:
    good = CHANNEL + record(5, struct.pack("<HIQQ", 1, 0, 5, 5) + frame(0))
    tracemalloc.start()
    try:
        sequences, recording = read(MAGIC + good + bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sequences == [0]
    assert damage(recording) is not None
    assert peak < MAX_MEMORY


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_recording_is_read_or_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    spoilt = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoilt) - 1))
        spoilt[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "mutated.mcap"
    path.write_bytes(spoilt)
    recording = Recording(path, on_event=_quiet)
    if not bytes(spoilt).startswith(MAGIC):
        with pytest.raises(RecordError, match="no MCAP file"):
            list(recording)
        return
    frames = list(recording)
    assert len(frames) <= FRAMES
    for found in frames:
        assert 0 <= found.sequence < 2**63
        assert found.joints.shape == (len(found.ids), 25, 3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 16), st.binary(max_size=60)), max_size=8))
@example([(6, bytes(32) + b"\0" * 8), (4, bytes(12)), (5, bytes(22))])
def test_made_up_records_are_passed_over(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "made-up.mcap"
    path.write_bytes(MAGIC + b"".join(record(opcode, content) for opcode, content in records))
    assert list(Recording(path, on_event=_quiet)) == []
