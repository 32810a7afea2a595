"""`skelanon sweep`: anonymizers that differ in one setting, trained and audited side by side."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="needs skelanon[train]")

from typer.testing import CliRunner

from skelanon.audit.report import read_audit
from skelanon.cli.main import app
from skelanon.configs.training import TrainingRun
from skelanon.configs.training_loader import resolved_yaml
from skelanon.export.bundle import read_bundle

MakeRun = Callable[..., TrainingRun]
TASKS = {
    "tasks": [{"name": "identity", "label": "subject", "split": {"by": "trial", "train": [0, 1], "test": [3]}}],
    "frames": 8,
}
FAST = ["attackers.families=[proportions]", "attackers.seeds=[0]"]


@pytest.fixture
def config(make_run: MakeRun, classifiers: dict[str, str], tmp_path: Path) -> Path:
    run = make_run("ensemble", action=[classifiers["action"]], private=[classifiers["private"]], trainer={"epochs": 1})
    file = tmp_path / "ensemble.yaml"
    file.write_text(resolved_yaml(run))
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(TASKS))
    return file


def sweep(config: Path, values: str, *arguments: str) -> tuple[int, str]:
    folder = config.parent
    fast = [word for setting in FAST for word in ("--set-audit", setting)]
    common = ["--out", str(folder / "out"), "--audit-config", str(folder / "tasks.yaml"), "--workers", "1"]
    result = CliRunner().invoke(app, ["sweep", str(config), values, *common, *fast, *arguments])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.slow
def test_each_value_is_trained_exported_and_audited_and_nothing_twice(config: Path) -> None:
    code, shown = sweep(config, "objective.beta=1,100", "--with", "noise=0.05")
    assert code == 3, shown  # proportions alone are no audit
    assert "no attacker on whole clips" in shown
    out = config.parent / "out"
    names = ["objective.beta-1", "objective.beta-100"]
    bundles = [out / "bundles" / f"{name}.onnx" for name in names]
    betas = [read_bundle(bundle).manifest.provenance["config"]["objective"]["beta"] for bundle in bundles]
    assert betas == [1.0, 100.0]
    found = read_audit(out / "audit.json")
    assert list(found.releases) == ["raw", *map(str, bundles), "noise=0.05"]
    moved = {one.release: one.rmse_m for one in found.shapes}
    assert 0 < moved[str(bundles[0])] != moved[str(bundles[1])] > 0  # one epoch is too short to say which is further
    before = {file: file.stat().st_mtime_ns for file in [*bundles, *(out / "cache").rglob("*.npz")]}
    assert sweep(config, "objective.beta=1,100", "--with", "noise=0.05")[0] == 3
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("objective.beta", "give KEY=A,B"),
        ("objective.beta=1,1", "each value once"),
        ("data.frames=8,16", "anonymizers of the same data"),
        ("objective.beta=1,much", "`objective.beta` is 'much'"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_trained(config: Path, values: str, message: str) -> None:
    code, shown = sweep(config, values)
    assert code != 0
    assert message in " ".join(shown.replace("│", " ").split())
    assert not (config.parent / "out").exists()


@pytest.mark.slow
def test_the_bits_of_motion_tokens_are_swept(make_run: MakeRun, tmp_path: Path) -> None:
    attackers = {"optimizer": {"name": "adam", "learning_rate": 0.01}}
    data, short = {"fit": "pad", "frames": 48}, {"epochs": 1}
    run = make_run("tokens", data=data, objective={"alpha": 1.0}, adversaries=attackers, trainer=short)
    (tmp_path / "tokens.yaml").write_text(resolved_yaml(run))
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(TASKS))
    code, shown = sweep(tmp_path / "tokens.yaml", "tokens.codes=4,16")
    assert code == 3, shown
    bundles = [tmp_path / "out" / "bundles" / f"tokens.codes-{codes}.onnx" for codes in (4, 16)]
    assert [read_bundle(bundle).manifest.bits_per_frame for bundle in bundles] == [2 / 16, 4 / 16]
