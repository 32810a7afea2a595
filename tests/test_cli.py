"""The command line, as users meet it: in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skelanon.cli.main import app
from skelanon.export import Manifest, default_bundle_path, read_bundle
from skelanon.export.bundle import seal
from skelanon.sensors.ntu import read_skeleton
from skelanon.sensors.skeleton_writer import write_demo_recording
from skelanon.stream import Subscriber
from skelanon.stream.subscriber import ReceivedFrame

COMMAND = [sys.executable, "-m", "skelanon.cli.main"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
NAME = "S001C001P042R001A001"
"""A recording's name in the scheme of NTU RGB+D: it names the performer."""


def skelanon(*arguments: str, cwd: Path | None = None, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd, env=ENVIRONMENT
    )


def refused(*arguments: str, cwd: Path | None = None, code: int = 2) -> str:
    """What one line of error a command ends with, at once."""
    done = skelanon(*arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    return done.stderr.removeprefix("error: ").strip()


class Daemon:
    """A command that publishes, and the address at which it does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""
        found = None
        assert process.stderr is not None
        while found is None:
            line = process.stderr.readline()
            assert line, f"it ended with {process.wait()} before it published: {self.log}"
            self.log += line
            found = re.search(r"publishing at (\S+)", line)
        self.endpoint = found[1]

    def end(self, timeout: float = 20) -> int:
        """Wait for the end; returns the exit code, and leaves all that was logged in `log`."""
        code = self.process.wait(timeout)
        assert self.process.stderr is not None
        self.log += self.process.stderr.read()
        return code


@contextmanager
def daemon(*arguments: str, endpoint: str = "tcp://127.0.0.1:*") -> Iterator[Daemon]:
    """A command in a process of its own, from its first log line on; killed at the end if it still runs."""
    where = ["--set", f"publish.endpoint={endpoint}"] if arguments[0] == "run" else ["--endpoint", endpoint]
    with subprocess.Popen(
        [*COMMAND, *arguments, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            yield Daemon(process)
        finally:
            process.kill()


def read_to_the_end(subscriber: Subscriber, stream: str = "replay") -> list[ReceivedFrame]:
    """Every frame until the node says that the stream has stopped."""
    frames = []
    deadline = time.monotonic() + 30
    while not (stream in subscriber.streams and subscriber.streams[stream].stopped):
        assert time.monotonic() < deadline, "the stream does not end"
        frame = subscriber.read(timeout_ms=100)
        if frame is not None:
            frames.append(frame)
    return frames


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four seconds of two people."""
    path = tmp_path / f"{NAME}.skeleton"
    write_demo_recording(path, seconds=4.0, persons=2, seed=3)
    return path


def test_help_lists_every_command() -> None:
    done = skelanon("--help")
    assert (done.returncode, done.stderr) == (0, "")
    commands = re.findall(r"^│ (\w+) ", done.stdout, re.MULTILINE)
    assert {"demo", "run", "replay", "subscribe", "keys", "bench", "export", "inspect"} <= set(commands)
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_the_script_is_installed() -> None:
    script = Path(sys.executable).with_name("skelanon.exe" if os.name == "nt" else "skelanon")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT)
    assert done.returncode == 0
    assert "anonymize skeletons" in done.stdout.lower()


def test_an_unknown_option_is_wrong_usage() -> None:
    done = skelanon("run", "synthetic.yaml", "--passthrough")
    assert done.returncode == 2
    assert "No such option: --passthrough" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("sensors:\n  hall: {kind: synthetic, persons: 9}\nmodle: {}\n")
    assert refused("run", "node.yaml", cwd=tmp_path) == (
        "node.yaml: `sensors.hall.persons` is 9: input should be less than or equal to 6; `modle` is not a setting"
    )
    assert refused("run", "none.yaml", cwd=tmp_path) == (
        "cannot read the configuration none.yaml: No such file or directory"
    )
    assert "`sensors.synthetic.rate_hz` is 0" in refused(
        "run", "synthetic.yaml", "--set", "sensors.synthetic.rate_hz=0"
    )
    assert "`sensors.Hall` is 'Hall'" in refused("replay", ".", "--stream", "Hall")


def test_a_recording_that_is_not_there_ends_at_once_and_is_not_named(tmp_path: Path) -> None:
    cannot = "`path` cannot be read: No such file or directory; name a recording, or a folder of them"
    path = str(tmp_path / f"{NAME}.skeleton")
    assert refused("replay", path) == f"`sensors.replay`: {cannot}"
    assert refused("run", "replay.yaml", "--set", f"sensors.replay.path={path}") == f"`sensors.replay`: {cannot}"
    assert refused("replay", str(tmp_path)) == (
        "`sensors.replay`: `path` is a folder without recordings of a known kind: name a recording or another folder"
    )


def test_a_truncated_recording_is_named_by_its_line_and_nothing_of_it_is_published(recording: Path, ipc: str) -> None:
    lines = recording.read_text().splitlines(keepends=True)
    recording.write_text("".join(lines[:1000]))
    with (
        daemon("replay", str(recording), "--wait-for", "1", endpoint=ipc) as node,
        Subscriber(ipc) as subscriber,
    ):
        frames = read_to_the_end(subscriber)
        assert node.end() == 3
    assert {(frame.state, frame.ids) for frame in frames} == {("fault", ())}
    assert "recording 1 of 1, line 1000: the recording ends too early" in node.log
    assert "error: 1 faults; the lines above say which" in node.log
    assert NAME not in node.log
    assert "Traceback" not in node.log


def test_a_truncated_recording_does_not_wait_for_anyone(recording: Path, ipc: str) -> None:
    recording.write_text(recording.read_text()[:5000])
    done = skelanon("replay", str(recording), "--endpoint", ipc)
    assert done.returncode == 3
    assert re.search(r"recording 1 of 1, line \d+: the recording ends too early", done.stderr)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        in_use = f"cannot publish at {endpoint}: Address already in use"
        assert refused("run", "synthetic.yaml", "--set", f"publish.endpoint={endpoint}", code=4).startswith(in_use)
        done = skelanon("demo", "--endpoint", endpoint)
    assert done.returncode == 4
    assert f"error: {in_use}" in done.stderr
    assert "please report" not in done.stderr


def test_an_open_address_without_keys_is_refused() -> None:
    message = refused("run", "synthetic.yaml", "--set", "publish.endpoint=tcp://0.0.0.0:7400")
    assert message.endswith("it needs `publish.curve`. Make keys with: skelanon keys new NAME")


def test_keys_are_made_once(tmp_path: Path) -> None:
    done = skelanon("keys", "new", "node", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["node.key", "node.key_secret"]
    secret = re.findall('secret-key = "(.*)"', (tmp_path / "keys" / "node.key_secret").read_text())
    assert secret
    assert secret[0] not in done.stdout
    assert refused("keys", "new", "node", cwd=tmp_path) == (
        f"{Path('keys', 'node.key')} exists already; choose another name or remove it first"
    )
    assert "cannot name keys" in refused("keys", "new", "../node", cwd=tmp_path)
    (tmp_path / "file").write_text("")
    assert refused("keys", "new", "node", "--folder", "file", cwd=tmp_path) == (
        "cannot write keys into file: File exists"
    )


def test_a_node_with_keys_is_watched_with_keys(tmp_path: Path) -> None:
    for name in ("node", "viewer"):
        assert skelanon("keys", "new", name, "--folder", str(tmp_path / name)).returncode == 0
    (tmp_path / "viewer" / "viewer.key_secret").rename(tmp_path / "viewer.key_secret")
    curve = f"publish.curve={{secret_key: {tmp_path}/node/node.key_secret, clients: {tmp_path}/viewer}}"
    keys = ["--key", str(tmp_path / "viewer.key_secret"), "--node-key", str(tmp_path / "node" / "node.key")]
    with daemon("run", "synthetic.yaml", "--set", curve) as node:
        seen = skelanon("subscribe", node.endpoint, "--count", "5", "--seconds", "20", *keys)
        unseen = skelanon("subscribe", node.endpoint, "--count", "1", "--seconds", "1")
        half = skelanon("subscribe", node.endpoint, *keys[:2])
    assert seen.returncode == 0, seen.stderr
    assert "template" in seen.stdout
    assert unseen.returncode == 3
    assert half.returncode == 2
    assert "--key and --node-key go together" in half.stderr


def test_inspect_shows_a_bundle_and_refuses_what_is_none(tmp_path: Path) -> None:
    bundle = read_bundle(default_bundle_path())
    done = skelanon("inspect")
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (shown["sha256"], shown["name"], shown["format"]) == (bundle.sha256, "template", "1")
    assert shown["inputs"] == "joints [N, 1, 25, 3]"
    assert done.stdout == skelanon("inspect", str(default_bundle_path())).stdout
    path = tmp_path / "bundle.onnx"
    path.write_bytes(b"\x08\x0a")
    assert "it has no manifest; make one with `skelanon export`" in refused("inspect", str(path))
    path.write_bytes(bundle.model.replace(b'"keep"', b'"kept"').replace(b"foot_anchored", b"body_centred_"))
    assert "manifest is not valid" in refused("inspect", str(path))
    path.write_bytes(bundle.model[:100] + bytes([bundle.model[100] ^ 1]) + bundle.model[101:])
    assert "edited after it was exported" in refused("inspect", str(path))
    assert refused("inspect", str(tmp_path)) == "cannot read the bundle: Is a directory"
    wrong = ["--set", "model.sha256=" + "f" * 64]
    assert f"sha256 is {bundle.sha256}, but" in refused("run", "synthetic.yaml", *wrong)


def test_what_a_bundle_says_of_itself_does_not_steer_the_terminal(tmp_path: Path) -> None:
    about = Manifest(
        name="test",
        anonymizer="\x1b[2J\x9b2J",
        bodies_per_sample=1,
        axes="camera",
        root="model",
        parity_tolerance_m=1e-5,
    )
    (tmp_path / "bundle.onnx").write_bytes(seal(b"\x08\x0a", about))
    done = skelanon("inspect", str(tmp_path / "bundle.onnx"))
    assert done.returncode == 0
    assert 'anonymizer          "\\u001b[2J\\u009b2J"\n' in done.stdout


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_fast_replay_loses_nothing_and_ends_by_itself(transport: str, recording: Path, ipc: str) -> None:
    endpoint = ipc if transport == "ipc" else "tcp://127.0.0.1:*"
    recorded = read_skeleton(recording)
    more = ["--fast", "--timestamps", "original", "--rate", "30", "--stream", "hall"]
    with daemon("replay", str(recording), *more, endpoint=endpoint) as node, Subscriber(node.endpoint) as subscriber:
        frames = read_to_the_end(subscriber, "hall")
        stats = subscriber.streams["hall"]
        assert node.end() == 0
    assert [frame.sequence for frame in frames] == list(range(len(recorded)))
    assert [frame.captured_ns for frame in frames] == [round(i * 1e9 / 30) for i in range(len(recorded))]
    bodies = [recorded.frame_start[i + 1] - recorded.frame_start[i] for i in range(len(recorded))]
    assert [len(frame.ids) for frame in frames] == bodies
    assert (stats.lost, stats.malformed, sum(frame.dropped for frame in frames)) == (0, 0, 0)
    assert stats.status is not None
    assert (stats.status.frames_out, stats.status.withheld, stats.status.faults) == (len(recorded), 0, 0)
    assert "waiting for 1 subscriptions" in node.log
    assert NAME not in node.log


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_node_at_once_and_cleanly(number: signal.Signals) -> None:
    with daemon("run", "synthetic.yaml") as node, Subscriber(node.endpoint) as subscriber:
        assert subscriber.read(timeout_ms=10_000) is not None
        started = time.monotonic()
        node.process.send_signal(number)
        assert node.end() == 0
        took = time.monotonic() - started
        read_to_the_end(subscriber, "synthetic")  # it said goodbye
    assert took < 3.0  # 1 s is promised; a loaded machine may take longer
    assert "Traceback" not in node.log
    assert "error" not in node.log.lower()


def test_subscribe_watches_and_says_whether_anything_came(ipc: str) -> None:
    with daemon("run", "synthetic.yaml", endpoint=ipc):
        done = skelanon("subscribe", ipc, "--count", "10", "--seconds", "20", "--stream", "synthetic")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\bsynthetic +ok +2 .* template", done.stdout)
    assert skelanon("subscribe", f"{ipc}-nobody", "--seconds", "0.2").returncode == 3
    wrong = skelanon("subscribe", "nonsense")
    assert wrong.returncode == 2
    assert "cannot connect to `endpoint` 'nonsense'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_demo_shows_frames_and_ends_well() -> None:
    done = skelanon("demo", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    arrived = re.search(r"(\d+) anonymous frames arrived; no raw joint left the node", done.stdout)
    assert arrived is not None
    assert int(arrived[1]) > 5
    assert "demo" in done.stdout
    assert "Traceback" not in done.stderr


CRASHES = {
    "at the start": """
import skelanon.stream.node
def create_node(settings):
    try:
        raise KeyError("0.1234567 in S001C001P042R001A001")
    except KeyError as error:
        raise OSError("/data/S001C001P042R001A001.skeleton") from error
skelanon.stream.node.create_node = create_node
""",
    "in a sensor's thread": """
import skelanon.stream.mailbox
def create_node(self, *_):
    raise KeyError("0.1234567 in S001C001P042R001A001")
skelanon.stream.mailbox.Mailbox.put = create_node
""",
    "in another thread": """
import threading, skelanon.stream.node
def create_node():
    raise KeyError("0.1234567 in S001C001P042R001A001")
skelanon.stream.node.Node.run = lambda self, *_: (threading.Thread(target=create_node).start(), self._stop.wait(20))
""",
}


@pytest.mark.parametrize("where", CRASHES)
def test_a_crash_shows_its_place_but_not_its_words(where: str, tmp_path: Path, ipc: str) -> None:
    script = tmp_path / "driver.py"
    script.write_text(CRASHES[where] + "from skelanon.cli.main import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, str(script), "run", "synthetic.yaml", "--set", f"publish.endpoint={ipc}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 1
    assert "skelanon has failed; please report this" in done.stderr
    assert re.search(r'File ".*driver.py", line \d+, in create_node', done.stderr)
    assert "KeyError\n" in done.stderr
    shown = "\n".join(line for line in done.stderr.splitlines() if "raise " not in line)  # the script's own source
    assert "S001" not in shown
    assert "0.1234567" not in shown


def test_export_needs_the_train_extra_and_says_so(tmp_path: Path) -> None:
    script = "import sys\nsys.modules['torch'] = None\nfrom skelanon.cli.main import main\nmain()"
    command = [sys.executable, "-c", script, "export", "--out", str(tmp_path / "bundle.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT)
    assert done.returncode == 2
    assert "torch is not installed: pip install 'skelanon[train]'" in done.stderr


@pytest.mark.parametrize(
    "options", [["--axes", "camera"], ["--root", "keep", "--reference-checkpoint", "none.pt"], ["--root", "raw"]]
)
def test_export_refuses_options_that_do_not_go_together(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs skelanon[train]")
    done = CliRunner().invoke(app, ["export", "--out", str(tmp_path / "bundle.onnx"), *options])
    assert done.exit_code == 2
    assert "Invalid value" in done.output
    assert list(tmp_path.iterdir()) == []


def test_export_writes_the_default_bundle_byte_for_byte(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs skelanon[train]")
    path = tmp_path / "bundle.onnx"
    done = CliRunner().invoke(app, ["export", "--out", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes() == default_bundle_path().read_bytes()
    assert read_bundle(path).sha256 in done.output
