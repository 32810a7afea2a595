"""The table of exit codes: each one by a real process, and the table in the documentation."""

import ast
import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from skelanon.cli.exits import PASSING, Exit, code_of
from skelanon.export.errors import BundleError, RunnerError
from skelanon.sensors.skeleton_writer import write_demo_recording
from skelanon.stream.errors import AddressError, PublishError, cannot_publish

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
ANY = ["--set", "publish.endpoint=tcp://127.0.0.1:*"]
ENDS = ["--set", "sensors.synthetic.frames=3", "--set", "sensors.synthetic.fast=true"]


def skelanon(*arguments: str, script: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command, in a process that runs a script first."""
    code = f"{script}\nfrom skelanon.cli.main import main\nmain()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


def test_0_the_recordings_have_ended() -> None:
    assert skelanon("run", "synthetic.yaml", *ANY, *ENDS).returncode == Exit.OK


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("style", ["human", "json"])
def test_the_code_is_right_where_there_is_no_room_for_the_words(style: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Path("/dev/full").open("wb") as full:
        taken = f"publish.endpoint=tcp://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "skelanon.cli.main", "run", "synthetic.yaml"]
        settings = ["--set", taken, "--set", f"log.format={style}"]
        done = subprocess.run([*command, *settings], stderr=full, timeout=60, check=False)
    assert done.returncode == Exit.UNAVAILABLE


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_0_asked_to_end_while_it_starts() -> None:
    script = "import os, signal, skelanon.stream.node\n"
    script += "skelanon.stream.node.create_node = lambda settings: os.kill(os.getpid(), signal.SIGTERM)"
    done = skelanon("run", "synthetic.yaml", script=script)
    assert (done.returncode, done.stderr) == (Exit.OK, "")


def test_1_a_defect() -> None:
    script = "import skelanon.stream.node\nskelanon.stream.node.create_node = lambda settings: {}['S001P042']"
    done = skelanon("run", "synthetic.yaml", script=script)
    assert done.returncode == Exit.INTERNAL
    assert "skelanon has failed; please report this" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "none.yaml"),
        ("run",),
        ("run", "synthetic.yaml", "--set", "sensors.synthetic.persons=9"),
        ("run", "synthetic.yaml", "--set", "model.bundle=none.onnx"),
        ("run", "synthetic.yaml", "--set", "publish.endpoint=tcp://0.0.0.0:7400"),
        ("run", "synthetic.yaml", "--set", "metrics.endpoint=9464"),
        ("replay", "none.skeleton"),
    ],
    ids=" ".join,
)
def test_2_wrong_usage_or_settings(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert skelanon(*arguments, cwd=tmp_path).returncode == Exit.USAGE


def test_3_the_answer_is_no(tmp_path: Path) -> None:
    write_demo_recording(tmp_path / "a.skeleton", seconds=1.0)
    (tmp_path / "a.skeleton").write_text((tmp_path / "a.skeleton").read_text()[:3000])
    done = skelanon("replay", "a.skeleton", "--endpoint", "tcp://127.0.0.1:*", cwd=tmp_path)
    assert done.returncode == Exit.NO


@pytest.mark.parametrize("setting", ["publish.endpoint=tcp://127.0.0.1:{}", "metrics.endpoint=127.0.0.1:{}"])
def test_4_an_address_in_use(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = skelanon("run", "synthetic.yaml", *ANY, "--set", setting.format(taken.getsockname()[1]))
    assert done.returncode == Exit.UNAVAILABLE
    assert "Address already in use" in done.stderr


def test_4_a_runner_that_cannot_be_had() -> None:
    script = "import sys\nsys.modules['onnxruntime'] = None"
    done = skelanon("run", "synthetic.yaml", *ANY, script=script)
    assert done.returncode == Exit.UNAVAILABLE
    assert "pip install 'skelanon[cpu]'" in done.stderr


def test_a_failure_is_json_where_the_log_is() -> None:
    import json

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = skelanon(
            "run", "synthetic.yaml", "--set", "log.format=json", "--set", f"publish.endpoint=tcp://127.0.0.1:{port}"
        )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["level"] == "critical"
    assert "Address already in use" in lines[-1]["message"]


def test_errors_that_pass_are_told_from_those_that_stay() -> None:
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in (AddressError, RunnerError)}
    assert kinds == PASSING
    taken, forbidden = (cannot_publish("tcp://x", os.strerror(code)) for code in (errno.EADDRINUSE, errno.EACCES))
    assert code_of(RunnerError("no GPU")) == code_of(taken) == Exit.UNAVAILABLE
    assert code_of(BundleError("edited")) == code_of(forbidden) == Exit.USAGE
    assert type(cannot_publish("x", None)) is PublishError


def test_the_documentation_has_the_table() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", text, re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(exit_.value, exit_.name) for exit_ in Exit]


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_no_command_ends_with_a_bare_number(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "sys.exit", "os._exit"):
            assert not any(isinstance(code, ast.Constant) and code.value for code in node.args), ast.unparse(node)
