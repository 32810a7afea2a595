"""Recordings in other programs' formats: the same joints, bit for bit, and nothing else of a person."""

import csv
import resource
import signal
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest

from skelanon.sensors.joints import JOINT_NAMES
from skelanon.sensors.ntu import read_skeleton
from skelanon.stream.received import Event
from skelanon.stream.recording import Recorder, RecordError, Recording, convert
from skelanon.stream.recording.convert import to_csv, to_npz, to_skeleton
from skelanon.stream.wire import decode_frame, decode_schema

GOLDEN = Path(__file__).parent / "golden" / "wire-1"
FRAME: dict[str, Any] = msgpack.unpackb((GOLDEN / "frame-ok.bin").read_bytes())
SCHEMA: dict[str, Any] = msgpack.unpackb((GOLDEN / "schema.bin").read_bytes())
RNG = np.random.default_rng(7)


def body(number: int, *, tracking: bool = True) -> dict[str, Any]:
    joints = RNG.normal(0, 1, (25, 3)).astype("<f4")
    joints[0] = (1e-30, -3e-38, 12345.678)
    states = RNG.integers(0, 3, 25).astype(np.uint8)
    return {"id": number, "joints": joints.tobytes(), "tracking": states.tobytes() if tracking else b""}


FRAMES: list[dict[str, Any]] = [
    {"sequence": 3, "bodies": [body(9), body(4_000_000_000)]},
    {"sequence": 4, "bodies": [], "state": "empty"},
    {"sequence": 8, "bodies": [body(9)]},
    {"sequence": 0, "bodies": [body(5, tracking=False)], "stream": "door"},
    {"sequence": 1, "bodies": [body(77)], "epoch": 6},
    {"sequence": 2, "bodies": [], "epoch": 6, "state": "fault"},
]
"""Two streams; one of them starts anew."""


def _quiet(event: Event) -> None:
    pass


def record(path: Path, *changes: dict[str, Any]) -> Recording:
    with Recorder(path) as recorder:
        schema = msgpack.packb(SCHEMA | {"epoch": 5, "axes": "normalised"})
        recorder.write(decode_schema(schema), schema, 1)
        for number, change in enumerate(changes):
            payload = msgpack.packb(FRAME | {"epoch": 5, "captured_ns": 100 + number} | change)
            recorder.write(decode_frame(payload), payload, 200 + number)
    return Recording(path, on_event=_quiet)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return record(tmp_path / "a.mcap", *FRAMES)


def joints_of(*frames: dict[str, Any]) -> bytes:
    return b"".join(one["joints"] for frame in frames for one in frame["bodies"])


def test_npz_is_what_the_audit_takes_for_released_skeletons(recording: Recording, tmp_path: Path) -> None:
    assert to_npz(recording, tmp_path / "a.npz") == 6
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    hall, door, again = FRAMES[:3], FRAMES[3:4], FRAMES[4:]
    assert arrays["joints"].dtype == np.float32
    assert arrays["joints"].tobytes() == joints_of(*hall, *door, *again)
    assert arrays["tracking"][:3].tobytes() == b"".join(one["tracking"] for f in hall for one in f["bodies"])
    assert (arrays["tracking"][3] == 2).all()
    assert arrays["id"].tolist() == [9, 4_000_000_000, 9, 5, 77]
    assert arrays["start"].tolist() == [0, 3, 4, 5]
    assert arrays["frame"].tolist() == [0, 0, 2, 0, 0]
    assert arrays["frame_start"].tolist() == [0, 3, 4, 6]
    assert arrays["captured_ns"].tolist() == [100, 101, 102, 103, 104, 105]
    assert arrays["sequence"].tolist() == [3, 4, 8, 0, 1, 2]
    assert arrays["stream"].tolist() == ["hall", "door", "hall"]
    assert arrays["epoch"].tolist() == [5, 5, 6]
    assert arrays["axes"].tolist() == ["normalised", "", ""]


def test_the_audit_reads_it(recording: Recording, tmp_path: Path) -> None:
    published = pytest.importorskip("skelanon.audit.published", reason="needs skelanon[train]").Published
    to_npz(recording, tmp_path / "a.npz")
    loaded = published.load(tmp_path / "a.npz")
    assert len(loaded) == 3
    assert loaded.main_body(0).tolist() == [0, 2]
    assert loaded.times(2).tolist() == [104, 105]


def test_csv_gives_every_number_back(recording: Recording, tmp_path: Path) -> None:
    assert to_csv(recording, tmp_path / "a.csv") == 6
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["9", "4000000000", "", "9", "5", "77", ""]
    assert [row["state"] for row in rows] == ["ok", "ok", "empty", "ok", "ok", "ok", "fault"]
    assert [row["lost"] for row in rows] == ["0", "0", "0", "3", "0", "1", "0"]
    assert [row["received_ns"] for row in rows] == ["200", "200", "201", "202", "203", "204", "205"]
    bodies = [one for frame in FRAMES for one in frame["bodies"]]
    for row, one in zip((row for row in rows if row["id"]), bodies, strict=True):
        joints = np.array([[float(row[f"{name}_{axis}"]) for axis in "xyz"] for name in JOINT_NAMES], "<f4")
        assert joints.tobytes() == one["joints"]
        states = [row[f"{name}_tracking"] for name in JOINT_NAMES]
        assert states == ([str(state) for state in one["tracking"]] or [""] * 25)
    assert not any(rows[2][f"{name}_x"] for name in JOINT_NAMES)


def test_skeleton_files_are_read_by_the_reader_of_ntu(recording: Recording, tmp_path: Path) -> None:
    assert to_skeleton(recording, tmp_path / "out") == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "door.skeleton", "hall-2.skeleton", "hall.skeleton",
    ]  # fmt: skip
    for name, frames in (("hall", FRAMES[:3]), ("door", FRAMES[3:4]), ("hall-2", FRAMES[4:])):
        read = read_skeleton(tmp_path / "out" / f"{name}.skeleton")
        assert len(read) == len(frames)
        assert read.joints.astype("<f4").tobytes() == joints_of(*frames)
        assert read.track_ids == tuple(one["id"] for frame in frames for one in frame["bodies"])
        tracking = b"".join(one["tracking"] or bytes([2] * 25) for frame in frames for one in frame["bodies"])
        assert read.tracking.tobytes() == tracking
    for line in (tmp_path / "out" / "hall.skeleton").read_text().splitlines():
        columns = line.split()
        if len(columns) == 12:  # a joint: depth, colour and orientation
            assert columns[3:11] == ["0"] * 8
        if len(columns) == 10:  # a body: clipping, hands, lean
            assert columns[1:] == ["0"] * 8 + ["2"]


def test_long_streams_fill_several_skeleton_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "SKELETON_ROWS", 5)
    frames = [{"sequence": number, "bodies": [body(1), body(2)]} for number in range(5)]
    to_skeleton(record(tmp_path / "a.mcap", *frames), tmp_path / "out")
    read = [read_skeleton(tmp_path / "out" / f"{name}.skeleton") for name in ("hall", "hall-2", "hall-3")]
    assert [len(part) for part in read] == [2, 2, 1]
    assert b"".join(part.joints.tobytes() for part in read) == joints_of(*frames)


def test_more_bodies_than_the_format_has_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    recording = record(tmp_path / "a.mcap", FRAMES[4], {"sequence": 9, "bodies": [body(n) for n in range(7)]})
    with pytest.raises(RecordError, match=r"a frame of stream hall has 7 bodies; .* at most 6: convert to npz or csv"):
        to_skeleton(recording, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("to", [to_csv, to_npz, to_skeleton])
def test_what_is_there_is_not_overwritten(to: Any, recording: Recording, tmp_path: Path) -> None:
    taken = tmp_path / ("hall.skeleton" if to is to_skeleton else "taken")
    taken.write_bytes(b"precious")
    with pytest.raises(RecordError, match=f"{taken.name} exists already; choose another name"):
        to(recording, tmp_path if to is to_skeleton else taken)
    assert taken.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.mcap", taken.name])


@pytest.mark.parametrize("to", [to_csv, to_npz, to_skeleton])
def test_a_full_disk_leaves_no_half_a_file(to: Any, recording: Recording, tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(RecordError, match=r"cannot write .*: File too large"):
            to(recording, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".mcap"]


@pytest.mark.parametrize("to", [to_npz, to_skeleton])
def test_a_recording_without_frames_is_nothing_to_convert(to: Any, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nothing to convert: the recording holds no frame"):
        to(record(tmp_path / "a.mcap"), tmp_path / "out")
