"""What the command line could give away: names in arguments, memory in core dumps."""

import subprocess
import sys
from pathlib import Path

import pytest

NAME = "S001C001P042R001A001"


@pytest.mark.parametrize("command", [["replay", "a"], ["run", "synthetic.yaml"]], ids=" ".join)
def test_surplus_arguments_are_refused_unnamed(command: list[str], tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "skelanon.cli.main", *command, f"{NAME}.skeleton", f"path={NAME}"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "2 too many; give one" in " ".join(done.stderr.split())
    assert NAME not in done.stderr + done.stdout


def test_a_recording_given_as_configuration_is_not_named(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.skeleton").write_text("1\n0\n")
    for name in (f"{NAME}.skeleton", f"{NAME}-not-there.skeleton"):
        arguments = [sys.executable, "-m", "skelanon.cli.main", "run", name]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
        assert done.returncode == 2
        assert "the configuration" in done.stderr
        assert NAME not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="core dumps are a matter of Posix")
def test_no_core_is_dumped(tmp_path: Path) -> None:
    code = (
        "import os, resource, sys\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "from skelanon.cli.main import main\n"
        "sys.argv = ['skelanon', 'inspect']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "(0, 0)"
