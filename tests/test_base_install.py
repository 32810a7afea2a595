"""The base install with `[cpu]`, in an environment of its own: the daemon runs without torch."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "build" / "base"
BINARIES = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BINARIES / ("python.exe" if os.name == "nt" else "python")
SKELANON = BINARIES / ("skelanon.exe" if os.name == "nt" else "skelanon")

NEWEST = max(
    path.stat().st_mtime
    for folder in ("configs", "sensors", "export", "stream", "train", "audit", "cli")
    for path in (ROOT / folder).rglob("*.py")
)
INSTALLED = ENVIRONMENT / ".installed"

pytestmark = pytest.mark.skipif(
    not INSTALLED.exists() or INSTALLED.stat().st_mtime < NEWEST,
    reason="build/base is missing or older than the code; `make build/base/.installed` makes it",
)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env={**clean, "NO_COLOR": "1"}
    )


def test_only_what_the_daemon_needs_is_installed(tmp_path: Path) -> None:
    script = (
        "import importlib.metadata, json\n"
        "print(json.dumps([found.metadata['Name'].lower() for found in importlib.metadata.distributions()]))"
    )
    installed = set(json.loads(run(PYTHON, "-c", script, cwd=tmp_path).stdout))
    assert {"skelanon", "numpy", "pyzmq", "onnxruntime"} <= installed
    assert not installed & {"torch", "onnx", "onnxscript", "scipy", "scikit-learn", "pykinect_azure", "pytest"}


def test_torch_cannot_be_imported_and_training_says_what_is_missing(tmp_path: Path) -> None:
    assert "No module named 'torch'" in run(PYTHON, "-c", "import torch", cwd=tmp_path).stderr
    done = run(SKELANON, "export", "--out", str(tmp_path / "bundle.onnx"), cwd=tmp_path)
    assert done.returncode == 2
    assert "torch is not installed: pip install 'skelanon[train]'" in " ".join(done.stderr.replace("│", " ").split())


def test_recordings_are_imported_without_torch(tmp_path: Path) -> None:
    made = run(SKELANON, "dataset", "miniature", "ntu", "recordings", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = run(SKELANON, "dataset", "import", "ntu", "recordings", "set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run(SKELANON, "dataset", "info", "set", cwd=tmp_path).stdout
    assert re.search(r"^kept +96 sequences *$", done.stdout, re.MULTILINE)


def test_what_runs_is_the_wheel_and_not_the_checkout(tmp_path: Path) -> None:
    found = run(PYTHON, "-c", "import skelanon.stream as found; print(found.__file__)", cwd=tmp_path).stdout.strip()
    assert Path(found).is_relative_to(ENVIRONMENT)


def test_the_demo_shows_anonymous_frames(tmp_path: Path) -> None:
    done = run(SKELANON, "demo", "--seconds", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "anonymous frames arrived; no raw joint left the node" in done.stdout
    assert not done.stdout.startswith("0 ")


def test_the_doctor_finds_all_that_a_node_needs(tmp_path: Path) -> None:
    done = run(SKELANON, "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    found = {line["what"]: line for line in json.loads(done.stdout)["lines"]}
    assert (found["runner cpu"]["state"], found["extra train"]["state"]) == ("ok", "missing")


def test_the_shipped_configurations_and_the_default_bundle_are_in_the_wheel(tmp_path: Path) -> None:
    script = (
        "from skelanon.configs import load_settings\nfrom skelanon.export import default_bundle_path, read_bundle\n"
        "print(list(load_settings('synthetic.yaml').sensors), list(load_settings('replay.yaml').sensors))\n"
        "print(read_bundle(default_bundle_path()).manifest.name)"
    )
    assert run(PYTHON, "-c", script, cwd=tmp_path).stdout == "['synthetic'] ['replay']\ntemplate\n"


def test_type_checkers_see_that_every_folder_is_typed(tmp_path: Path) -> None:
    script = (
        "import pathlib, skelanon\n"
        "print(*sorted(path.parent.name for path in pathlib.Path(skelanon.__path__[0]).glob('*/py.typed')))"
    )
    assert run(PYTHON, "-c", script, cwd=tmp_path).stdout == "audit cli configs export sensors stream train\n"
