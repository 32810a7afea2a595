"""`skelanon train` and `export` of runs, as users meet them: killed, on a full disk, in two processes."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from typer.testing import CliRunner

from skelanon.cli.main import app
from skelanon.configs.training import TrainingRun
from skelanon.configs.training_loader import resolved_yaml
from skelanon.export.bundle import read_bundle
from skelanon.export.errors import BundleError
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.train.anonymizers import unet
from skelanon.train.anonymizers.whole_clip import sequence_model
from skelanon.train.build import build_trained
from skelanon.train.checkpoint import RunFolder
from skelanon.train.errors import CheckpointError
from skelanon.train.samples import random_samples
from skelanon.train.trained import load_anonymizer
from skelanon.train.trainer import Progress, train

MakeRun = Callable[..., TrainingRun]

Untrained = dict[str, list[str]]

ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def untrained(make_run: MakeRun) -> Untrained:
    """Runs of recognizers that have learnt nothing, which is all that is needed here."""
    runs = [make_run(label=label, trainer={"epochs": 0}) for label in ("action", "private")]
    for run in runs:
        train(run)
    return {"action": [runs[0].out], "private": [runs[1].out]}


def command(run: TrainingRun) -> list[str]:
    """The command line that trains a run; its settings are in a file beside its folder."""
    file = Path(run.out).with_suffix(".yaml")
    file.write_text(resolved_yaml(run))
    return [sys.executable, "-m", "skelanon.cli.main", "train", str(file)]


def trained(run: TrainingRun, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(run), capture_output=True, text=True, timeout=100, check=False, env=ENVIRONMENT, **options
    )


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    return {
        f"{module}.{name}": tensor
        for module, tensors in RunFolder(run.out).finished().modules.items()
        for name, tensor in tensors.items()
    }


def metrics(run: TrainingRun) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(run.out) / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_command_goes_on_when_it_is_given_again(make_run: MakeRun) -> None:
    whole, killed = (make_run(trainer={"batch_size": 9}) for _ in range(2))
    history = train(whole)
    with subprocess.Popen(command(killed), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        seen = ""
        while "epoch 1/4" not in seen:
            line = process.stderr.readline()
            assert line, f"it ended by itself: {seen}"
            seen += line
        process.kill()
    found = RunFolder(killed.out).load()
    assert found is not None
    assert 1 <= found.epoch < 4
    done = trained(killed)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/4" not in done.stderr
    last = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
    assert done.stdout == f"{killed.out}: {last}\n"
    assert metrics(killed) == history
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(killed)[name], tensor), name


def test_a_full_disk_leaves_the_checkpoint_before_whole(make_run: MakeRun) -> None:
    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise StopError

    run = make_run(trainer={"epochs": 2})
    with pytest.raises(StopError):
        train(run, stop)
    size = (Path(run.out) / "checkpoint.pt").stat().st_size // 2
    done = trained(run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert done.returncode == 2
    assert f"error: cannot write {run.out}/checkpoint.pt: " in done.stderr
    assert "what was saved before is whole: make room and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in Path(run.out).iterdir() if path.name.startswith(".") or path.suffix == ".partial"]
    found = RunFolder(run.out).load()
    assert found is not None
    assert found.epoch == 1
    train(run)
    assert [row["epoch"] for row in metrics(run)] == [1, 2]


@pytest.mark.slow
def test_two_processes_train_what_one_does(make_run: MakeRun, untrained: Untrained) -> None:
    def make(devices: int) -> TrainingRun:
        return make_run(
            "ensemble",
            **untrained,
            trainer={"devices": devices, "batch_size": 2, "epochs": 2},  # 2 and 1 test batches
            optimizer={"learning_rate": 1e-3},  # with more, what rounding leaves grows beyond comparison
        )

    one, two = make(1), make(2)
    history = train(one)
    done = trained(two)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/2") == done.stderr.count("epoch 2/2") == 1
    assert done.stdout.count(two.out) == done.stdout.count("\n") == 1
    assert weights(one)["anonymizer.fc2.weight"].abs().max() > 1e-4  # it was zero
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=1e-6, rtol=0)
    for mine, theirs in zip(history, metrics(two), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)
    before = (Path(two.out) / "checkpoint.pt").stat().st_mtime_ns
    assert train(two) == metrics(two)  # finished: no second process is started
    assert (Path(two.out) / "checkpoint.pt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_two_processes_test_with_the_statistics_that_are_saved(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(trainer={"devices": 2, "batch_size": 2, "epochs": 1})
    done = trained(run)
    assert done.returncode == 0, done.stderr
    torch.save(RunFolder(run.out).finished().modules["classifier"], tmp_path / "weights.pt")
    (alone,) = train(make_run(network={"weights": str(tmp_path / "weights.pt")}, trainer={"epochs": 0}))
    assert metrics(run)[0]["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-5)
    assert metrics(run)[0]["action_top1"] == alone["action_top1"]


@pytest.mark.slow
def test_what_goes_wrong_in_two_processes_is_said_once(make_run: MakeRun) -> None:
    done = trained(make_run(trainer={"devices": 2}, optimizer={"learning_rate": 1e30}))
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "rror" in line or "diverged" in line] == [
        line for line in done.stderr.splitlines() if line.startswith("error: training has diverged: loss is not finite")
    ]
    assert done.stderr.count("diverged") == 1


def test_an_exported_run_is_the_network_frame_by_frame(make_run: MakeRun, untrained: Untrained, tmp_path: Path) -> None:
    run = make_run(
        "ensemble",
        **untrained,
        trainer={"epochs": 2, "test_every": 2},
    )
    train(run)
    done = CliRunner().invoke(app, ["export", run.out, "--out", str(tmp_path / "x.onnx")])
    assert done.exit_code == 0, done.output
    bundle = read_bundle(tmp_path / "x.onnx")
    assert f"residual-ensemble, sha256 {bundle.sha256}" in done.stdout
    samples = random_samples(tracks=5, frames=12, bodies_per_sample=1, seed=9)  # (T, N, 1, V, C)
    joints, present = (torch.from_numpy(x).transpose(0, 1) for x in (samples.joints, samples.present))
    with torch.no_grad():
        network = load_anonymizer(run.out).network
        whole = sequence_model(network, 1).sequence(joints, present).numpy()
        identity = sequence_model(torch.nn.Identity(), 1).sequence(joints, present).numpy()
    assert np.abs(whole - identity).max() > 1e-3  # it has learnt
    runner = OnnxRuntimeCpu(bundle)
    for frame, now in enumerate(samples.joints):
        out = runner.step(list(range(5)), [frame == 0] * 5, now, samples.present[frame])
        np.testing.assert_allclose(out, whole[:, frame], rtol=0, atol=1e-5)
    runner.close()
    manifest = bundle.manifest
    assert (manifest.axes, manifest.anonymizer, manifest.data_licence) == ("normalised", "residual", "-")
    assert manifest.provenance["data"] == {
        "fingerprint": RunFolder(run.out).data().fingerprint,
        "train": 18,
        "test": 9,
    }
    assert manifest.provenance["config"]["objective"]["beta"] == 10
    handed_on = (tmp_path / "x.onnx").read_bytes()
    for path in (run.out, run.data.folder, *untrained["action"], *untrained["private"]):
        assert path.encode() not in handed_on  # a folder's name may name whom it is about
    assert manifest.provenance["versions"].keys() | {"torch"} <= {"skelanon", "numpy", *manifest.provenance["packages"]}


def test_what_cannot_be_streamed_is_not_exported(
    make_run: MakeRun, untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet, "WIDTHS", (2, 4, 8, 16, 32))
    run = make_run(
        "ensemble",
        anonymizer={"kind": "unet"},
        **untrained,
        trainer={"epochs": 1},
    )
    assert train(run)[0]["distance_m2"] > 0
    with pytest.raises(CheckpointError, match=r"is a U-Net: it needs the whole clip, .* and cannot be streamed"):
        build_trained(run.out, tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match="is a run of `task: classifier`, not of an anonymizer"):
        build_trained(untrained["action"][0], tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
    with pytest.raises(BundleError):
        read_bundle(tmp_path / "x.onnx")
