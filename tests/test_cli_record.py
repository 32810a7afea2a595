"""`skelanon record`, `play` and `convert`, as users meet them: killed, on a full disk, with keys, one after another."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from skelanon.cli.main import app
from skelanon.configs import check
from skelanon.sensors.ntu import read_skeleton
from skelanon.stream import Event, Node, Player, Recording, Subscriber, create_keys, create_node

if TYPE_CHECKING:
    from tests.conftest import RawNode

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "skelanon.cli.main"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
SECOND = 1_000_000_000
KILLS = int(os.environ.get("SKELANON_KILLS", "15"))
"""Recorders that live side by side, each for a random time."""
RATE_HZ = 100


def _fail(event: Event) -> None:
    raise AssertionError(f"unexpected: {event}")


def skelanon(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False, **options)


def run(*arguments: object) -> str:
    """What a command says that ends well; in this process, which is quicker."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, killed at the end if it still runs."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Publishing:
    """A raw node that publishes frames from a thread of its own, whose times of capture tell when."""

    def __init__(self, make: Callable[..., RawNode], endpoint: str) -> None:
        self.frames = 0
        self._stop = threading.Event()
        self._made = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, endpoint), daemon=True)
        self._thread.start()
        assert self._made.wait(20)

    def _run(self, make: Callable[..., RawNode], endpoint: str) -> None:
        node = make(endpoint)
        self._made.set()
        while not self._stop.wait(1 / RATE_HZ):
            now_ns = time.time_ns()
            node.frame(self.frames, captured_ns=now_ns, published_ns=now_ns)
            self.frames += 1
            if self.frames % RATE_HZ == 1:
                node.schema()
                node.status("ok")

    def __enter__(self) -> Publishing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)


def check_killed(path: Path, killed_ns: int) -> int:
    """That a killed recorder's file can be read and played, without a hole, to a second before its end; its frames."""
    recording = Recording(path, on_event=_fail)
    frames = list(recording)
    for frame in frames:
        assert frame.ids == (9,)
    assert recording.malformed == 0
    (damage,) = recording.damage.values()
    assert "it was not closed" in (damage.describe() or "")
    assert damage.records == 0
    if frames:
        assert killed_ns - frames[-1].received_ns < SECOND
        with Player(Recording(path), "tcp://127.0.0.1:*", fast=True) as player:
            player.run()
        assert player.frames == len(frames)
    return len(frames)


NURSERY = """
import os, sys
from pathlib import Path
import mcap.writer, zmq
from skelanon.cli.record import record
from skelanon.stream import Recorder, Subscriber

endpoint, *paths = sys.argv[1:]
for path in paths:
    child = os.fork()
    if not child:
        try:
            record(Path(path), endpoint)
        finally:
            os._exit(1)
    sys.stdout.write(f"{child}\\n")
sys.stdout.flush()
for _ in paths:
    os.wait()
"""
"""Runs the command many times over, but imports what it needs only once."""


def kill_recorders(count: int, folder: Path, endpoint: str, seed: int = 0) -> list[int]:
    """Start recorders side by side and kill each at a random time of its life; the frames in each one's file."""
    chance = random.Random(seed)
    paths = [folder / f"{seed}-{number}.mcap" for number in range(count)]
    killed_ns = {}
    nursery = [sys.executable, "-c", NURSERY, endpoint, *map(str, paths)]
    with subprocess.Popen(nursery, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        children = [int(process.stdout.readline()) for _ in paths]
        try:
            for path in paths:
                wait_until(path.exists)
                time.sleep(chance.uniform(0, 5 / count))
                os.kill(children.pop(0), signal.SIGKILL)
                killed_ns[path] = time.time_ns()
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
    return [check_killed(*killed) for killed in killed_ns.items()]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def test_a_recorder_that_is_killed_loses_a_second_at_most(
    make_raw_node: Callable[..., RawNode], ipc: str, tmp_path: Path
) -> None:
    with Publishing(make_raw_node, ipc):
        frames = kill_recorders(KILLS, tmp_path, ipc)
    assert len(frames) == KILLS
    assert max(frames) > RATE_HZ


def test_a_full_disk_ends_the_recorder_and_nothing_else(
    make_raw_node: Callable[..., RawNode], ipc: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.mcap"
    events: list[Event] = []
    with (
        Publishing(make_raw_node, ipc) as publishing,
        Subscriber(ipc, on_event=events.append) as subscriber,
    ):
        assert subscriber.read(20_000) is not None
        done = skelanon(
            "record", ipc, "--out", path, "--seconds", 50,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        )  # fmt: skip
        then = publishing.frames
        while (frame := subscriber.read(20_000)) is not None and frame.sequence < then + 20:
            pass
    assert frame is not None
    assert events == []
    assert done.returncode == 4
    assert re.fullmatch(
        r"error: cannot record into \S+a\.mcap: File too large; what was recorded before is kept\n", done.stderr
    ), done.stderr
    assert path.stat().st_size == 60_000
    assert len(list(Recording(path, on_event=_fail))) > 10


def test_ctrl_c_ends_a_recording_in_good_order(make_raw_node: Callable[..., RawNode], ipc: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with Publishing(make_raw_node, ipc), started("record", ipc, "--out", path) as process:
        wait_until(lambda: path.exists() and path.stat().st_size > 2000)  # the first chunk, with the embedded schemas
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        output, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 0, errors
    recording = Recording(path, on_event=_fail)
    frames = list(recording)
    assert recording.damage[path].finished
    assert output == f"{path}: {len(frames)} frames (hall), 0 lost, {path.stat().st_size / 1e3:,.0f} kB\n"


def test_record_play_record_convert(tmp_path: Path, ipc: str, run_node: RunNode) -> None:
    tree = {
        "sensors": {"hall": {"kind": "synthetic", "persons": 2, "rate_hz": 200}},
        "publish": {"endpoint": ipc},
    }
    with run_node(lambda: create_node(check(tree, "test"))):
        run("record", ipc, "--stream", "hall", "--out", tmp_path / "first", "--count", 60)
    with started("record", f"{ipc}2", "--out", tmp_path / "second.mcap", "--count", 60) as recorder:
        played = skelanon("play", tmp_path / "first", "--endpoint", f"{ipc}2", "--fast")
        assert played.returncode == 0, played.stderr
        assert f"publishing at {ipc}2: hall" in played.stderr
        assert recorder.wait(20) == 0
    first, second = (list(Recording(tmp_path / name, on_event=_fail)) for name in ("first", "second.mcap"))
    assert [frame.joints.tobytes() for frame in first] == [frame.joints.tobytes() for frame in second]
    assert [frame.ids for frame in first] == [frame.ids for frame in second]
    said = run("convert", tmp_path / "second.mcap", "--to", "skeleton", "--out", tmp_path / "skeletons")
    assert said == f"{tmp_path / 'skeletons'}: 60 frames (hall)\n"
    read = read_skeleton(tmp_path / "skeletons" / "hall.skeleton")
    assert read.joints.tobytes() == b"".join(frame.joints.tobytes() for frame in first)


def test_the_commands_and_the_snippet_of_the_docs(
    make_raw_node: Callable[..., RawNode], ipc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "recordings.md").read_text("utf-8")
    commands = [line.split("#")[0].split()[1:] for line in text.splitlines() if line.startswith("skelanon ")]
    assert [command[0] for command in commands] == ["record", "record", "play", "convert", "convert", "convert"]
    monkeypatch.chdir(tmp_path)
    with Publishing(make_raw_node, ipc):
        for command in commands:
            more = {"record": [ipc, "--count", "65"], "play": ["--endpoint", f"{ipc}2"]}.get(command[0], [])
            run(*command, *more)
    assert {path.name for path in tmp_path.iterdir()} >= {"hall.mcap", "recordings", "hall", "hall.npz", "hall.csv"}
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["window"].full


def test_an_encrypted_node_is_recorded_with_its_keys(tmp_path: Path, ipc: str, run_node: RunNode) -> None:
    (_, node_secret), (public, secret) = (create_keys(tmp_path / "keys", name) for name in ("node", "recorder"))
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / public.name).write_bytes(public.read_bytes())
    curve = {"secret_key": str(node_secret), "clients": str(tmp_path / "clients")}
    tree = {"sensors": {"hall": {"kind": "synthetic"}}, "publish": {"endpoint": ipc, "curve": curve}}
    out = tmp_path / "a.mcap"
    with run_node(lambda: create_node(check(tree, "test"))):
        without = skelanon("record", ipc, "--out", out, "--seconds", 0.5)
        assert (without.returncode, out.exists()) == (3, False)
        assert "no frame came from ipc://" in without.stderr
        keys = ["--key", secret, "--node-key", tmp_path / "keys" / "node.key"]
        run("record", ipc, "--out", out, "--count", 5, *keys)
    assert len(list(Recording(out, on_event=_fail))) >= 5


def test_what_is_damaged_is_said(tmp_path: Path, make_raw_node: Callable[..., RawNode], ipc: str) -> None:
    with Publishing(make_raw_node, ipc):
        run("record", ipc, "--out", tmp_path / "a.mcap", "--count", 90)
    cut = tmp_path / "cut.mcap"
    cut.write_bytes((tmp_path / "a.mcap").read_bytes()[:-25_000])
    done = skelanon("convert", cut, "--to", "csv", "--out", tmp_path / "a.csv")
    assert done.returncode == 0
    assert re.search(r"WARNING \S+cut\.mcap: it was not closed: \d+ bytes at its end could not be read", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["record", "ipc:///nowhere", "--out", "taken.mcap"], "taken.mcap exists already; choose another name"),
        (["play", "none.mcap"], "there is no recording none.mcap"),
        (["play", "text.mcap"], "text.mcap is not a recording: no MCAP file"),
        (["convert", "text.mcap", "--to", "csv", "--out", "a.csv"], "text.mcap is not a recording: no MCAP file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    for name in ("taken.mcap", "text.mcap"):
        (tmp_path / name).write_text("precious")
    done = skelanon(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {words}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken.mcap", "text.mcap"]
