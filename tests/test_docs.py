"""Every command and snippet in README.md and docs/training.md does what it says; the curve of docs/privacy.md, too."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml

from skelanon.configs import check, shipped_runs
from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.sensors.skeleton_writer import write_demo_recording
from skelanon.stream.node import Node, create_node
from skelanon.stream.subscriber import Subscriber

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PRIVACY = (ROOT / "docs" / "privacy.md").read_text("utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text("utf-8")
SKELANON = [sys.executable, "-m", "skelanon.cli.main"]


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The commands of a page, in order."""
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    return [line.split("#")[0].split() for line in lines if line[:9] == "skelanon "]


COMMANDS = commands(README)
ENDLESS = {"run", "subscribe", "replay"}
ELSEWHERE = {"bench": "bench --quick"}
"""Run whole in test_cli_bench.py, which takes as long again."""


def free_port() -> str:
    """An address that nobody listens at now."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


@pytest.mark.parametrize("command", [c[1:] for c in COMMANDS if c[1] not in (*ENDLESS, *ELSEWHERE)], ids=" ".join)
def test_a_command_ends_well(command: list[str], tmp_path: Path) -> None:
    if command[0] == "export":
        pytest.importorskip("torch")
    done = subprocess.run([*SKELANON, *command], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_run_elsewhere_is_the_command_of_the_page() -> None:
    assert {c[1]: " ".join(c[1:]) for c in COMMANDS if c[1] in ELSEWHERE} == ELSEWHERE


def test_the_endless_commands_work_together(tmp_path: Path) -> None:
    assert {command[1] for command in COMMANDS if command[1] in ENDLESS} == ENDLESS
    (tmp_path / "recordings").mkdir()
    write_demo_recording(tmp_path / "recordings" / "made.skeleton", seconds=2.0)
    for command in COMMANDS:
        if command[1] not in ("run", "replay"):
            continue
        endpoint = free_port()
        where = ["--set", f"publish.endpoint={endpoint}"] if command[1] == "run" else ["--endpoint", endpoint]
        node = subprocess.Popen([*SKELANON, *command[1:], *where], cwd=tmp_path, stderr=subprocess.PIPE)
        try:
            watch = [*SKELANON, "subscribe", endpoint, "--count", "20", "--seconds", "30"]
            done = subprocess.run(watch, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout
            assert ("synthetic" if command[1] == "run" else "replay") in done.stdout
        finally:
            node.send_signal(signal.SIGINT)
            _, errors = node.communicate(timeout=30)
        assert node.returncode == 0, errors


def test_the_python_snippet_gets_its_window(run_node: RunNode) -> None:
    (snippet,) = blocks("python")
    settings = check(
        {
            "sensors": {"synthetic": {"kind": "synthetic", "rate_hz": 200}},
            "publish": {"endpoint": "tcp://127.0.0.1:*"},
        },
        "test",
    )
    with run_node(lambda: create_node(settings)) as node:
        names: dict[str, object] = {}
        exec(snippet.replace("tcp://127.0.0.1:7400", node.publisher.endpoint), names)
    keypoint, clip = names["keypoint"], names["clip"]
    assert getattr(keypoint, "shape", ())[1:] == (60, 25, 3)
    assert getattr(clip, "shape", ()) == (1, 3, 60, 25, 2)


def test_the_encrypted_node_of_the_readme(tmp_path: Path, run_node: RunNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("yaml")
    create_keys(Path("keys"), "node")
    public, secret = create_keys(Path("keys"), "recognizer")
    Path("clients").mkdir()
    (Path("clients") / public.name).write_bytes(public.read_bytes())
    settings = check(yaml.safe_load(snippet.replace("0.0.0.0:7400", "127.0.0.1:*")), "README")
    with (
        run_node(lambda: create_node(settings)) as node,
        Subscriber(node.publisher.endpoint, curve=load_client_keys(secret, "keys/node.key")) as subscriber,
    ):
        frame = subscriber.read(timeout_ms=5000)
    assert frame is not None
    assert frame.stream == "hall"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_way_from_recordings_to_a_bundle(tmp_path: Path) -> None:
    """All commands of docs/training.md, one after the other, in one folder."""
    pytest.importorskip("torch", reason="needs skelanon[train]")
    for command in commands(TRAINING):
        done = subprocess.run(
            [*SKELANON, *command[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"sequence.png", "anonymizer.onnx", "figure5.png", "figure5.json", "figure6.png"} <= written


def test_the_runs_that_the_docs_name_are_shipped() -> None:
    named = {command[2] for command in commands(TRAINING) if command[1] == "train"}
    assert named == {"synthetic-smoke-action", "synthetic-smoke-private", "synthetic-smoke-adv"}
    assert named <= set(shipped_runs())


def test_the_curve_of_the_docs_is_drawn_from_the_audits_that_lie_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs skelanon[train]")
    (command,) = [line.split() for line in PRIVACY.splitlines() if line.startswith("    skelanon figure bits ")]
    *others, out = [str(ROOT / part) if part.startswith("docs/") else part for part in command[1:]]
    drawing = [*SKELANON, *others, str(tmp_path / "bits.png")]
    done = subprocess.run(drawing, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out == str(ROOT / "docs" / "bits.png")
    assert (tmp_path / "bits.json").read_bytes() == (ROOT / "docs" / "bits.json").read_bytes()
