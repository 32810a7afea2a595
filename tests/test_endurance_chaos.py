"""The chaos of docs/reliability.md, every deed once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from azure_stand_in import NEEDS

pytest.importorskip("mcap", reason="needs skelanon[record]")
TESTS = Path(__file__).parent
pytestmark = NEEDS


def test_a_fleet_comes_through_every_deed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS / "support"))
    out = tmp_path / "chaos.json"
    done = subprocess.run(
        [sys.executable, str(TESTS / "endurance" / "chaos.py"), "--each", "--out", str(out)],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    report = json.loads(out.read_bytes())
    assert (done.returncode, report["wrong"]) == (0, []), done.stderr
    assert report["done"] == len(report["deeds"]) == 12
    assert report["recordings_read"] == 2
    assert report["recorded_frames_read"] > 10
    assert report["searched_bytes"] > 50_000
