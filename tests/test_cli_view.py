"""`skelanon view`: what its file holds is what a subscriber has, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from skelanon.cli import scene
from skelanon.cli.main import app
from skelanon.configs import check
from skelanon.sensors.joints import BONES, PARENTS
from skelanon.stream import Node, ReceivedFrame, Subscriber, create_keys, create_node
from skelanon.stream.received import Gap, Restart, Resume, Stall, StreamStats

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]
Rows = list[dict[str, Any]]

COMMAND = [sys.executable, "-m", "skelanon.cli.main", "view"]
MEASURES = {"latency_ms", "rate_hz", "counts"}
COMPONENTS = {
    "body": {
        "Points3D:positions",
        "Points3D:radii",
        "Points3D:colors",
        "LineStrips3D:strips",
        "LineStrips3D:radii",
        "LineStrips3D:colors",
    },
    "gone": {"Clear:is_recursive"},
    "id": {"Points3D:positions", "Points3D:radii", "Points3D:colors", "Points3D:labels"},
    "stage": {"ViewCoordinates:xyz"},
    "event": {"TextLog:text", "TextLog:level"},
    "measure": {"Scalars:scalars"},
}
"""All that may be in a row of a file."""


def rows(path: Path) -> dict[str, Rows]:
    """What a file holds: entity -> rows as they were written, keyed by timeline (nanoseconds) and component."""
    import pyarrow
    from rerun.chunk import RrdReader

    found: dict[str, Rows] = defaultdict(list)
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        columns = [held.cast("int64") if pyarrow.types.is_timestamp(held.type) else held for held in batch.columns]
        names = batch.schema.names
        values = zip(*(column.to_pylist() for column in columns), strict=True)
        found[chunk.entity_path] += [
            {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in values
        ]
    return {entity: sorted(held, key=lambda row: row["rerun.controls.RowId"]) for entity, held in found.items()}


def laid_out(path: Path) -> set[str]:
    """The origins of the views that a file comes with."""
    from rerun.chunk import RrdReader

    reader = RrdReader(path)
    batches = [chunk.to_record_batch() for store in reader.blueprints() for chunk in reader.stream(store=store)]
    origin = "ViewBlueprint:space_origin"
    return {name for batch in batches if origin in batch.schema.names for (name,) in batch.column(origin).to_pylist()}


def kind_of(entity: str, row: dict[str, Any]) -> str:
    parts = entity.split("/")[1:]
    if parts[0] != "bodies":
        return "event" if parts[0] == "events" else "measure" if parts[0] in MEASURES else entity
    if len(parts) == 3:
        return "gone" if "Clear:is_recursive" in row else "body"
    return "stage" if len(parts) == 2 else parts[-1]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's own viewer is touched."""
    pytest.importorskip("rerun", reason="needs skelanon[view]")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    return tmp_path


def synthetic(**publish: Any) -> Node:
    sensors = {
        "hall": {"kind": "synthetic", "persons": 2, "rate_hz": 60},
        "door": {"kind": "synthetic", "persons": 1, "rate_hz": 60, "seed": 3},
    }
    return create_node(check({"sensors": sensors, "publish": {"endpoint": "tcp://127.0.0.1:*", **publish}}, "test"))


@contextmanager
def started(*arguments: object, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def watch(subscriber: Subscriber, until: Callable[[], bool]) -> list[ReceivedFrame]:
    """What comes until something is so."""
    frames, until_s = [], time.monotonic() + 20
    while not until() and time.monotonic() < until_s:
        frame = subscriber.read(20)
        if frame is not None:
            frames.append(frame)
    return frames


def check_bodies(held: dict[str, Rows], frames: list[ReceivedFrame]) -> int:
    """That the bodies in a file are those of the frames, bit for bit and id by id; how many were compared."""
    shown: dict[tuple[str, int], dict[int, Any]] = defaultdict(dict)
    for entity in held:
        if not entity.endswith("/id"):
            continue
        place, stream = entity.removesuffix("/id"), entity.split("/")[2]
        seen = [row for row in held[place] if kind_of(place, row) == "body"]
        for row, name in zip(seen, held[entity], strict=True):
            assert row["sequence"] == name["sequence"]
            shown[stream, row["sequence"]][int(name["Points3D:labels"][0])] = row
    compared = 0
    for frame in frames:
        bodies = shown.get((frame.stream, frame.sequence))
        if bodies is None:
            continue
        assert set(bodies) == set(frame.ids)
        for body, joints in zip(frame.ids, frame.joints, strict=True):
            row = bodies[body]
            np.testing.assert_array_equal(np.array(row["Points3D:positions"], np.float32), joints)
            ends = np.stack([joints[[PARENTS[joint] for joint in BONES]], joints[list(BONES)]], axis=1)
            np.testing.assert_array_equal(np.array(row["LineStrips3D:strips"], np.float32), ends)
            assert row["captured"] == frame.captured_ns
            compared += 1
    return compared


def test_the_file_holds_what_was_published_and_nothing_else(tmp_path: Path, run_node: RunNode) -> None:
    out = tmp_path / "room.rrd"
    with (
        run_node(synthetic) as node,
        Subscriber(node.publisher.endpoint) as subscriber,
        started(node.publisher.endpoint, "--save", out) as process,
    ):
        watch(subscriber, lambda: out.exists())
        until_s = time.monotonic() + 3
        frames = watch(subscriber, lambda: time.monotonic() > until_s)
        process.send_signal(signal.SIGINT)
        frames += watch(subscriber, lambda: process.poll() is not None)
        said, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "frames (door, hall)" in said
    held = rows(out)
    for entity, written in held.items():
        for row in written:
            components = COMPONENTS[kind_of(entity, row)]
            assert components <= set(row)
            assert set(row) - components <= {"rerun.controls.RowId", "captured", "sequence", "log_time"}
    assert check_bodies(held, frames) > 100
    for stream in ("hall", "door"):
        rates = [row["Scalars:scalars"][0] for row in held[f"/rate_hz/{stream}"]]
        assert 20 < statistics.median(rates) < 130  # one alone may be of frames that had waited
        assert all(0 < row["Scalars:scalars"][0] < 5000 for row in held[f"/latency_ms/{stream}"])
        assert held[f"/counts/{stream}/lost"][-1]["Scalars:scalars"] == [0]
        assert held[f"/counts/{stream}/withheld"][-1]["Scalars:scalars"] == [0]
        assert len(held[f"/bodies/{stream}"]) == 1  # y is up
    assert laid_out(out) == {
        "/bodies/hall", "/bodies/door", "/rate_hz", "/latency_ms", "/counts", "/events",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:RRD file has no footer")  # the stand-in is ended as a viewer is
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
@pytest.mark.parametrize("window", ["closed", "left open"])
def test_the_viewer_gets_it_and_only_from_this_machine(
    home: Path, tmp_path: Path, run_node: RunNode, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    """With Rerun's own receiver in the viewer's place, which needs no display, and writes down what it was told."""
    from skelanon.cli import view

    keys = tmp_path / "keys"
    create_keys(keys, "node")
    public, secret = create_keys(keys, "viewer")
    (tmp_path / "clients").mkdir()
    shutil.copy(public, tmp_path / "clients")
    out, told = tmp_path / "seen.rrd", tmp_path / "told.txt"
    stand_in = tmp_path / "viewer"
    real = view._program()
    stand_in.write_text(
        f'#!/bin/sh\n[ "$1" = analytics ] && exec "{real}" "$@"\necho "$@ $HTTPS_PROXY" > "{told}"\n'
        f'exec {"timeout 3" if window == "closed" else ""} "{real}" --save "{out}" --bind "$2" --port "$4"\n'
    )
    stand_in.chmod(0o700)
    monkeypatch.setattr(view, "_program", lambda: stand_in)
    curve = {"secret_key": str(keys / "node.key_secret"), "clients": str(tmp_path / "clients")}
    with run_node(lambda: synthetic(curve=curve)) as node:
        arguments = ["view", node.publisher.endpoint, "--stream", "hall", "--key", str(secret)]
        arguments += ["--seconds", "2.5" if window == "left open" else "30"]
        began_s = time.monotonic()
        result = CliRunner().invoke(app, [*arguments, "--node-key", str(keys / "node.key")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert time.monotonic() - began_s < 20, "it ends with the window"
    held = rows(out)
    assert len(held["/bodies/hall/0/id"]) > 50
    assert "/latency_ms/door" not in held
    assert told.read_text().startswith("--bind 127.0.0.1 --port ")
    assert told.read_text().endswith(" http://127.0.0.1:9\n"), "its question for newer versions gets nowhere"
    (settings,) = home.rglob("analytics.json")
    assert json.loads(settings.read_text())["analytics_enabled"] is False


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from skelanon.cli.main import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Posix does")
def test_a_full_disk_is_an_error(tmp_path: Path, run_node: RunNode) -> None:
    with run_node(synthetic) as node:
        command = [sys.executable, "-c", FULL, "view", node.publisher.endpoint, "--save", str(tmp_path / "a.rrd")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done.stderr
    assert "could not be written to its end; is the disk full?" in done.stderr


class Clock(scene.Clock):
    """Stands still until told."""

    s = 100.0

    def now_s(self) -> float:
        return self.s

    def now_ns(self) -> int:
        return int(self.s * 1e9)


def a_frame(sequence: int, *ids: int, state: Any = "ok") -> ReceivedFrame:
    """Captured 5 s before it comes, by a node whose clock is late: second `sequence` after the clock's 100th."""
    come_ns = (100 + sequence) * 1_000_000_000
    joints = np.full((len(ids), 25, 3), sequence, np.float32)
    tracking = np.tile(np.arange(25, dtype=np.uint8) % 3, (len(ids), 1))
    return ReceivedFrame(
        "hall", 1, sequence, come_ns - 5_000_000_000, come_ns, come_ns, state, ids, joints, tracking, 0, 0
    )


def staged(path: Path, play: Callable[[Any, Clock], None]) -> dict[str, Rows]:
    """What a scene writes."""
    import rerun

    recording = rerun.RecordingStream("test", send_properties=False)
    recording.save(path)
    clock = Clock()
    play(scene.Scene(recording, clock=clock), clock)
    recording.disconnect()
    return rows(path)


def test_who_leaves_is_cleared_and_places_are_used_again(tmp_path: Path) -> None:
    def play(stage: Any, clock: Clock) -> None:
        for sequence, ids in enumerate([(7, 8), (8, 7), (8,), (9, 8), ()]):
            stage.show(a_frame(sequence, *ids))

    held = staged(tmp_path / "a.rrd", play)
    names = {
        place: [(row["sequence"], row["Points3D:labels"]) for row in held[f"/bodies/hall/{place}/id"]]
        for place in (0, 1)
    }
    assert names == {
        0: [(0, ["7"]), (1, ["7"]), (3, ["9"])],
        1: [(0, ["8"]), (1, ["8"]), (2, ["8"]), (3, ["8"])],
    }
    cleared = {
        place: [row["sequence"] for row in held[f"/bodies/hall/{place}"] if "Clear:is_recursive" in row]
        for place in (0, 1)
    }
    assert cleared == {0: [2, 4], 1: [4]}
    first, second, third = [row["Points3D:colors"] for row in held["/bodies/hall/0"] if "Points3D:colors" in row]
    assert [colour & 0xFF for colour in first[:3]] == [60, 120, 255]  # what the sensor did not see is faint
    assert first == second != third


def test_what_goes_wrong_is_written_where_it_happened(tmp_path: Path) -> None:
    def play(stage: Any, clock: Clock) -> None:
        stage.tell(Stall("hall", 2.0))  # of a stream that was asked for, and never came
        stage.show(a_frame(0, 7))
        stage.tell(Gap("hall", 3))
        clock.s = 102.0
        stage.tell(Stall("hall", 2.04))
        stage.tell(Resume("hall"))
        stage.show(a_frame(2, state="fault"))
        stage.show(a_frame(3, state="fault"))
        stage.show(a_frame(4, 7))
        clock.s = 106.0
        stage.tell(Restart("hall"))
        stage.tick({"hall": StreamStats(frames=12, lost=3)})

    held = staged(tmp_path / "a.rrd", play)
    events = [
        (row["TextLog:text"][0], row["TextLog:level"][0], row.get("captured", 0) / 1e9) for row in held["/events/hall"]
    ]
    assert events == [
        ("stalled: no frame for 2.0 s", "ERROR", 0),
        ("3 frames lost", "WARN", 95.0),
        ("stalled: no frame for 2.0 s", "ERROR", 97.0),
        ("frames again", "INFO", 97.0),
        ("fault", "ERROR", 97.0),
        ("no more fault", "INFO", 99.0),
        ("the node was started anew", "WARN", 101.0),
    ]
    cleared = [row["captured"] for row in held["/bodies/hall/0"] if "Clear:is_recursive" in row]
    assert cleared == [97_000_000_000], "a stall clears the stage"
    assert [row["Scalars:scalars"] for row in held["/rate_hz/hall"]] == [[2.0]]
    assert [row["Scalars:scalars"] for row in held["/counts/hall/lost"]] == [[3.0]]
    assert [row["Scalars:scalars"] for row in held["/latency_ms/hall"]] == [[5000.0]] * 4


def test_what_cannot_be_done_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skelanon.cli import view

    there = tmp_path / "there.rrd"
    there.write_bytes(b"precious")
    nobody = f"ipc://{tmp_path}/nobody"

    def says(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["view", nobody, *map(str, arguments)], catch_exceptions=False)
        return result.exit_code, " ".join(result.output.replace("│", " ").split())

    code, said = says("--save", there)
    assert (code, there.read_bytes()) == (2, b"precious")
    assert "File exists" in said
    code, said = says("--save", tmp_path / "new.rrd", "--seconds", "0.2")
    assert code == 3
    assert "no frame came" in said
    monkeypatch.setattr(view, "_program", lambda: Path(shutil.which("true") or ""))
    code, said = says()
    assert code == 4
    assert "is there a display? `--save FILE` needs none" in said
    monkeypatch.setitem(sys.modules, "rerun", None)
    code, said = says()
    assert code == 2
    assert "rerun is not installed: pip install 'skelanon[view]'" in said
