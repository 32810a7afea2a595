"""`skelanon doctor`: every red line can be provoked, and says what to do; nothing hangs, raises or gives names away."""

import json
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from skelanon.cli.checks import graphics, installed, isolated, models
from skelanon.cli.checks.line import Line, guarded
from skelanon.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
NAME = "S001C001P042R001A001"
KEYS = {"group", "what", "state", "found", "remedy", "needed"}
LOCAL = "tcp://127.0.0.1:*"
posix = pytest.mark.skipif(os.name != "posix", reason="rights and scripts of Posix")


def only(lines: Iterable[Line]) -> Line:
    """The one line that there is."""
    (line,) = lines
    return line


def named(lines: Iterable[Line], what: str) -> Line:
    """The line about something."""
    return only(line for line in lines if line.what == what)


def command(*arguments: str, cwd: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `skelanon doctor --json` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "skelanon.cli.main", "doctor", "--json", *arguments],
        capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def write_config(folder: Path, **changes: Any) -> Path:
    tree = {"sensors": {"hall": {"kind": "synthetic"}}, "publish": {"endpoint": LOCAL}} | changes
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Makes a module that child processes can import as well, and cuts them off after two seconds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(isolated, "TIMEOUT_S", 2.0)

    def make(code: str) -> ModuleType:
        (tmp_path / "made_checks.py").write_text(
            f"import os, sys, time\nfrom skelanon.cli.checks.line import Line\n{code}"
        )
        sys.modules.pop("made_checks", None)
        return __import__("made_checks")

    return make


def test_a_machine_that_runs_the_tests_can_run_a_node(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    code, report = command("--config", config.name, cwd=tmp_path)
    assert set(report) == {"format", "ready", "lines"}
    assert (code, report["format"], report["ready"]) == (0, 1, True), report
    lines = [Line(**line) for line in report["lines"]]
    assert all(set(line) == KEYS for line in report["lines"])
    assert all(line.remedy for line in lines if line.state != "ok")
    shown = {line.what: line for line in lines}
    assert shown["numpy"].found.startswith(metadata.version("numpy"))
    assert shown["default bundle"].found.startswith("template, sha256 ")
    assert "p50 of 100 calls, bodies in each: 1" in shown["default bundle on the CPU"].found
    assert shown["`sensors.hall`"].found == "synthetic: opens, and a frame came"
    assert shown["`publish.endpoint`"].found == f"{LOCAL} is free; this machine only"
    text = " ".join(f"{line.what} {line.found} {line.remedy}" for line in lines)
    assert str(Path.home()) + os.sep not in text
    assert str(tmp_path) not in text


def test_without_model_runtime_and_torch_it_says_what_to_install(tmp_path: Path) -> None:
    for absent in ("torch", "onnx", "onnxruntime", "tensorrt", "pykinect_azure"):
        (tmp_path / f"{absent}.py").write_text(f"raise ModuleNotFoundError('not here', name={absent!r})")
    code, report = command(cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (code, report["ready"]) == (3, False)
    lines = [Line(**line) for line in report["lines"]]
    assert {line.what for line in lines if line.fatal} == {"runner cpu", "default bundle on the CPU"}
    for what in ("runner cpu", "default bundle on the CPU"):
        assert "pip install 'skelanon[cpu]'" in named(lines, what).found + named(lines, what).remedy


def test_the_table_is_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        Line("python", "Python", "ok", "3.11"),
        Line("keys", "[bold]", "broken", "\x1b[2J", "run: chmod 600 x", needed=True),
        Line("extras", "extra view", "missing", "a view", "pip install 'skelanon[view]'"),
    ]
    monkeypatch.setattr("skelanon.cli.checks.plan.examine", lambda config: iter(lines))
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "120"})
    assert done.exit_code == 3
    assert "pip install 'skelanon[view]'" in done.output
    assert "[bold]" in done.output
    assert "\x1b[2J" not in done.output
    assert "a node cannot run here: 1 line in red" in done.output
    del lines[1]
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "120"})
    assert (done.exit_code, "a node can run here" in done.output) == (0, True)


def test_a_line_that_is_not_ok_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="nobody is told what to do"):
        Line("gpu", "GPU", "missing", "none")


def test_a_check_that_fails_itself_is_a_line_without_its_words() -> None:
    def fails() -> Any:
        yield Line("a", "before", "ok", "")
        raise OSError(f"/home/{NAME}")

    def lacks() -> Any:
        import zmq.no_such_part  # type: ignore[import-not-found]  # noqa: F401

        yield Line("a", "never", "ok", "")

    before, line = guarded("a", fails, needed=True)
    assert (before.what, line.state, line.fatal) == ("before", "broken", True)
    assert NAME not in line.found + line.remedy
    line = only(guarded("a", lacks))
    assert (line.state, line.fatal) == ("missing", False)
    assert line.found == "cannot be checked without zmq"


def test_a_hanging_check_is_cut_off_and_what_it_knew_stays(made: Callable[[str], ModuleType]) -> None:
    checks = made("""
def hangs():
    sys.stdout.write("a library's own words")
    os.write(1, b'{"what": "noise"}')
    yield Line("a", "first", "ok", "done")
    time.sleep(60)
def aborts():
    yield Line("a", "first", "ok", "done")
    os.abort()
""")
    first, line = isolated.isolated("a", checks.hangs, needed=True)
    assert (first.what, line.what, line.fatal) == ("first", "hangs", True)
    assert line.found == "did not answer within 2 s"
    first, line = isolated.isolated("a", checks.aborts)
    assert (first.what, line.state, line.fatal) == ("first", "broken", False)
    assert line.found.startswith("its process died")


def test_a_process_that_cannot_be_killed_is_left_behind(
    made: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = made("""
def hangs():
    yield Line("a", "first", "ok", "done")
    time.sleep(60)
""")
    left: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(isolated, "_KILL_S", 0.2)
    monkeypatch.setattr(subprocess.Popen, "kill", lambda child: left.append(child))
    first, line = isolated.isolated("a", checks.hangs)
    monkeypatch.undo()
    assert (first.what, line.state) == ("first", "broken")
    left[0].kill()
    left[0].wait(10)


def test_a_model_runtime_that_hangs_is_cut_off(made: Callable[[str], ModuleType], tmp_path: Path) -> None:
    made("")
    (tmp_path / "onnxruntime.py").write_text("import time\ntime.sleep(60)")
    assert "did not answer" in only(isolated.isolated("model", models.runners)).found


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions that are installed, to be changed; skelanon's requirements are made up."""
    there = {"skelanon": "0.1.0", "numpy": "2.4.1", "onnxruntime": "1.20.0", "torch": "2.13.0+cpu"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    asked = [
        "numpy>=2.0",
        "pykinect3<2; sys_platform == 'nowhere'",
        'onnxruntime>=1.20; extra == "cpu"',
        'onnxruntime-gpu>=1.20; extra == "gpu"',
        'torch>=2.9; extra == "train"',
        'scipy>=1.14; extra == "train"',
        'pytest>=8; extra == "test"',
    ]
    about = {"Requires-Python": ">=3.11", "Version": "0.1.0"}
    fake = SimpleNamespace(
        version=version,
        requires=lambda name: asked if version(name) else None,
        metadata=lambda name: about if version(name) else None,
        PackageNotFoundError=metadata.PackageNotFoundError,
    )
    monkeypatch.setattr(installed, "metadata", fake)
    return there


def test_packages_are_compared_with_what_is_asked_for(packages: dict[str, str]) -> None:
    assert only(installed.packages()) == Line("packages", "numpy", "ok", "2.4.1 (>=2.0)", needed=True)
    packages["numpy"] = "1.26.4"
    line = only(installed.packages())
    assert (line.state, line.found, line.remedy) == ("broken", "1.26.4; needed is >=2.0", "pip install 'numpy>=2.0'")
    assert line.fatal
    del packages["numpy"]
    assert (line := only(installed.packages())).state == "missing"
    assert line.fatal
    del packages["skelanon"]
    assert named(installed.python(), "skelanon").fatal


@pytest.mark.parametrize(
    ("version", "versions", "expected"),
    [
        ("2.10", ">=2.9", True), ("2.9.0rc1", ">=2.9", True), ("2.0", "==2", True), ("3.1", ">=2,<3", False),
        ("0.0.4", "==0.0.4", True), ("0.0.5", "==0.0.4", False), ("1", "!=1.0", False), ("1", "~=0.9", True),
        ("1", "", True),
    ],
)  # fmt: skip
def test_versions(version: str, versions: str, expected: bool) -> None:
    assert installed.satisfies(version, versions) is expected


def test_an_old_python_is_red(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(installed.python(), "Python").state == "ok"
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.18")
    line = named(installed.python(), "Python")
    assert line.fatal
    assert line.remedy == "install Python >=3.11 and skelanon in it"


def test_extras_say_what_they_give_and_which_package_lacks(packages: dict[str, str]) -> None:
    lines = list(installed.extras())
    assert [line.what for line in lines] == ["extra cpu", "extra gpu", "extra train"]
    assert named(lines, "extra gpu").remedy.startswith("only if it shall replace onnxruntime: pip uninstall -y")
    line = named(lines, "extra train")
    assert (line.state, line.remedy) == ("warn", "pip install 'skelanon[train]'")
    assert line.found.endswith("torch 2.13.0+cpu; lacks scipy>=1.14")
    assert not any(line.fatal for line in lines)
    del packages["torch"]
    assert named(installed.extras(), "extra train").state == "missing"


def test_every_extra_is_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras) - {"test"} <= set(installed.GIVES)


def test_there_must_be_one_model_runtime(packages: dict[str, str]) -> None:
    assert only(installed.runtime()).found == "onnxruntime 1.20.0"
    packages["onnxruntime-gpu"] = "1.20.1"
    line = only(installed.runtime())
    assert line.fatal
    assert "they overwrite each other's files" in line.found
    assert line.remedy == "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'skelanon[gpu]'"
    del packages["onnxruntime"], packages["onnxruntime-gpu"]
    assert only(installed.runtime()).fatal


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Line:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return list(graphics.gpu())[-1]


@posix
def test_gpus_as_the_driver_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = nvidia_smi(tmp_path, monkeypatch, "echo 'A, 1, 2 MiB, 8.0'; echo 'NVIDIA B, 580.65, 81920 MiB, 9.0'")
    assert (line.what, line.found) == ("GPU 1", "NVIDIA B, 81920 MiB, compute 9.0, driver 580.65")
    line = nvidia_smi(tmp_path, monkeypatch, "echo 'no devices were found'; exit 6")
    assert (line.state, line.found) == ("broken", "nvidia-smi shows no GPU (exit code 6)")
    monkeypatch.setattr(graphics, "_TIMEOUT_S", 0.3)
    assert "did not answer" in nvidia_smi(tmp_path, monkeypatch, "exec sleep 30").found
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert only(graphics.gpu()).state == "missing"


def test_tensorrt_by_its_package(packages: dict[str, str]) -> None:
    assert "pip install 'skelanon[tensorrt]'" in only(graphics.tensorrt()).remedy
    packages["tensorrt-cu13"] = "10.14.1"
    assert only(graphics.tensorrt()).found == "tensorrt-cu13 10.14.1"
