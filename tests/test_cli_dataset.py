"""`skelanon dataset`: what it says, and how it ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.cli.dataset import app
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.skeleton_writer import write_demo_recording, write_skeleton
from skelanon.train.data.store import SkeletonDataset

ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def skelanon(*arguments: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
    script = f"{before}\nfrom skelanon.cli.main import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, of one and two persons, and one of nobody."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_demo_recording(folder / "S001C001P001R001A001.skeleton", seconds=0.5, persons=1)
    write_demo_recording(folder / "S001C002P007R001A001.skeleton", seconds=1.0, persons=2)
    nobody = BodyFrame(0, np.empty((0, 25, 3), np.float32), np.empty((0, 25), np.uint8), ())
    write_skeleton(folder / "S001C003P002R001A001.skeleton", [nobody])
    return folder


def table(text: str) -> dict[str, str]:
    """The summary's lines, heading and value."""
    return dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in text.splitlines())


def test_an_import_is_summarised_and_info_says_the_same(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = skelanon("dataset", "import", "ntu", folder, out, "--workers", "1")
    assert (done.returncode, done.stderr) == (0, "")
    found = table(done.stdout)
    expected = {
        "kind": "ntu", "kept": "2 sequences", "skipped: no bodies": "1", "frames": "45 at 30 a second",
        "bodies": "up to 2 in a sequence", "persons": "2", "actions": "1", "measured": "25 of 25 joints",
        "fingerprint": SkeletonDataset(out).info.fingerprint,
        "bytes": f"{sum(path.stat().st_size for path in out.iterdir()):,}",
    }  # fmt: skip
    assert {heading: found[heading] for heading in expected} == expected
    assert "academic research" in found["licence"]
    again = CliRunner().invoke(app, ["info", str(out)], env={"COLUMNS": "200"})
    assert (again.exit_code, again.stdout) == (0, done.stdout)


def test_what_is_refused_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    for arguments, message in (
        (("import", "ntu", tmp_path / "none", tmp_path / "out"), r"none does not exist: name the folder"),
        (("import", "ntu", folder, tmp_path), r"exists already: name another folder"),
        (("info", folder), r"is no data set: dataset\.json is missing; make one with `skelanon dataset import`"),
    ):
        done = skelanon("dataset", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"error: [^\n]*{message}[^\n]*\n", done.stderr), done.stderr


def test_wrong_usage() -> None:
    for arguments, message in (
        (["import", "kinetics", ".", "out"], "'ntu'"),
        (["import", "ntu", ".", "out", "--workers", "0"], "Input should be greater than or equal to 1"),
    ):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})
        assert done.exit_code == 2
        assert message in done.output


def test_ctrl_c_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    stop = """
import skelanon.train.data.importing as importing, signal
importing._read_all = lambda *_: signal.raise_signal(signal.SIGINT)
"""
    done = skelanon("dataset", "import", "ntu", folder, tmp_path / "out", "--workers", "1", before=stop)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped; the same command goes on where it was\n")


def test_every_command_has_help() -> None:
    for command in ("import", "info", "show", "miniature"):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
