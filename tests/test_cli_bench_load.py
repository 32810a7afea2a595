"""`skelanon bench --load`: the search finds the most sensors, and every figure is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skelanon.cli.bench.load import Load, Trial, find_most


def trial(sensors: int, bears: int) -> Trial:
    return Trial(sensors, 30.0 * sensors, 0 if sensors <= bears else 5, 0, 50.0)


@pytest.mark.parametrize("bears", [3, 8, 40, 63, 64, 71, 100, 130, 500, 600])
def test_the_most_is_found_to_within_a_step(bears: int) -> None:
    load, asked = Load(), []

    def attempt(sensors: int) -> Trial:
        asked.append(sensors)
        return trial(sensors, bears)

    most = find_most(load, trial(load.sensors, bears), attempt)
    assert len(asked) < 12
    assert len(set(asked)) == len(asked)
    if bears < load.step:
        assert most is None
        return
    assert most is not None
    assert most.free_of_drops
    assert most.sensors <= bears
    assert bears - most.sensors < 2 * load.step or most.sensors == load.most


def test_frames_that_were_never_made_count_as_drops() -> None:
    assert Trial(64, 1919.0, 0, 0, 50.0).free_of_drops
    assert not Trial(64, 1700.0, 0, 0, 50.0).free_of_drops
    assert not Trial(64, 1920.0, 0, 1, 50.0).free_of_drops


@pytest.mark.skipif(sys.platform != "linux", reason="needs cores that can be assigned")
def test_a_quick_run_gives_every_figure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "skelanon.cli.main", "bench", "--load", "--quick", "--out", "figures.json"],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_bytes())["figures"]
    found = {row["what"]: row["value"] for row in figures}
    assert found["8 sensors: asked for"] == 240
    assert 0 < found["8 sensors: published"] < 300
    assert found["8 sensors: lost"] == 0
    assert found["most sensors without drops"] in (0, 8)
    assert found["bare ZeroMQ"] > 100
