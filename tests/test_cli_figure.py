"""`skelanon figure`: each command writes its picture and numbers, and says what they are not."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("matplotlib", reason="needs skelanon[train]")

from skelanon.cli.figure import app
from skelanon.configs.training import EnsembleRun
from skelanon.train.checkpoint import Checkpoint, DataRecord, RunFolder
from skelanon.train.errors import TrainingError
from skelanon.train.evaluate import CAUTION, Accuracy, Evaluation, Row

RUN = {
    "out": "run",
    "task": "ensemble",
    "data": {"folder": "set", "split": {"by": "trial", "test": [2]}},
    "trainer": {"epochs": 1, "batch_size": 2},
    "anonymizer": {"kind": "residual"},
    "objective": {"alpha": 2.0, "beta": 10.0},
    "optimizer": {"learning_rate": 0.01},
    "action": ["action"],
    "private": ["private"],
}


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of raw skeletons and of a run, by classifiers that it was trained against."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("run")
    record = DataRecord(fingerprint="0", licence="-", train=1, test=1, classes={"action": (0, 1), "private": (0, 1)})
    folder.begin(EnsembleRun.model_validate(RUN), record)
    metrics = {"epoch": 1.0, "distance_m2": 0.01, "action1_top1": 0.8, "private1_top1": 0.2}
    folder.save(Checkpoint(epoch=1, modules={}, optimizers={}, history=[metrics]))
    rows = tuple(
        Row(
            release=release,
            rmse_m=0.1,
            mpjpe_m=0.2,
            accuracies=(
                Accuracy(run="action", network="agcn", label="action", held_out=release == "raw", top1=0.8),
                Accuracy(run="private", network="agcn", label="private", held_out=release == "raw", top1=0.2),
            ),
        )
        for release in ("raw", "run")
    )
    prior = {"action": 0.5, "private": 0.5}
    Path("table.json").write_bytes(msgspec.json.encode(Evaluation(data="0", test_sequences=9, prior=prior, rows=rows)))
    return "table.json"


def figure(*arguments: str) -> dict[str, Any]:
    """Draw `figure.png`; returns its numbers."""
    done = CliRunner().invoke(app, [*arguments, "--out", "figure.png"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.startswith("figure.png, figure.json: ")
    assert CAUTION in done.output
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")
    numbers: dict[str, Any] = json.loads(Path("figure.json").read_text("utf-8"))
    return numbers


def test_figures_of_an_evaluation(evaluation: str) -> None:
    with pytest.raises(TrainingError, match=r"held out from all of raw, run: .*`--all-classifiers`"):
        figure("trade-off", evaluation)
    numbers = figure("trade-off", evaluation, evaluation, "--all-classifiers")
    assert [point["alpha"] for point in numbers["points"]] == [None, 2.0]
    numbers = figure("ensemble-size", evaluation, "--all-classifiers")
    assert [run["size"] for run in numbers["runs"]] == [1]


def test_curves_of_a_run(evaluation: str) -> None:
    assert figure("curves", "run")["runs"][0]["rmse_m"] == [0.1]


def test_skeletons_need_the_data(evaluation: str) -> None:
    with pytest.raises(TrainingError, match=r"template is no run: .*`--classifier`"):
        figure("skeletons", "template", "--index", "0")


@pytest.mark.parametrize("command", ["ensemble-size", "trade-off", "curves", "skeletons"])
def test_a_picture_must_be_named(command: str) -> None:
    done = CliRunner().invoke(app, [command, "x"])
    assert done.exit_code == 2
    assert "Missing option" in done.output
