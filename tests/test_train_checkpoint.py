"""Run folders: whole or not there, and what is no run, no checkpoint or another's is refused."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
import yaml

from skelanon.configs.training import TrainingRun
from skelanon.train.checkpoint import Checkpoint, RunFolder, write_atomically
from skelanon.train.errors import CheckpointError
from skelanon.train.trained import load_anonymizer, load_auto_encoder, load_classifier
from skelanon.train.trainer import train

MakeRun = Callable[..., TrainingRun]


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """The folder of a recognizer's run that has ended."""
    run = make_run(trainer={"epochs": 0})
    train(run)
    return Path(run.out)


def change_settings(run: Path, *keys: str, value: object) -> None:
    tree = branch = yaml.safe_load((run / "config.yaml").read_text())
    for key in keys[:-1]:
        branch = branch[key]
    branch[keys[-1]] = value
    (run / "config.yaml").write_text(yaml.safe_dump(tree))


def test_weights_of_another_architecture_are_refused_by_name(run: Path) -> None:
    change_settings(run, "network", "name", value="st_gcn")
    message = (
        r"is of another architecture than StGcn: \d+ tensors are missing \['\w+.*'\], \d+ are unknown "
        r"\['cnn.bn1.bias', .*\], \d+ have another shape \[.*\]"
    )
    with pytest.raises(CheckpointError, match=message):
        load_classifier(run)


def test_a_run_of_another_task_is_refused(run: Path, make_run: MakeRun) -> None:
    with pytest.raises(CheckpointError, match="is a run of `task: classifier`, not of an anonymizer"):
        load_anonymizer(run)
    with pytest.raises(CheckpointError, match="is a run of `task: classifier`, not the pre-training of an auto-enc"):
        load_auto_encoder(run, torch.nn.Linear(1, 1))
    pre = make_run("auto_encoder", trainer={"epochs": 0})
    train(pre)
    with pytest.raises(CheckpointError, match="is a run of `task: auto_encoder`, not of a classifier"):
        load_classifier(pre.out)
    (run / "checkpoint.pt").write_bytes((Path(pre.out) / "checkpoint.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"another architecture than Sgn: \d\d+ tensors are missing"):
        load_classifier(run)


def test_a_run_that_has_not_ended_is_refused(run: Path) -> None:
    change_settings(run, "trainer", "epochs", value=3)
    with pytest.raises(CheckpointError, match="has finished 0 of 3 epochs: train it first"):
        load_classifier(run)
    (run / "checkpoint.pt").unlink()
    with pytest.raises(CheckpointError, match="has finished 0 of 3 epochs: train it first"):
        load_classifier(run)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(run: Path, share: float) -> None:
    file = run / "checkpoint.pt"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged or no checkpoint \(\w+\)"):
        load_classifier(run)


class Hostile:
    """What runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(run: Path, tmp_path: Path) -> None:
    stored = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save({**stored, "history": Hostile(tmp_path / "mark")}, run / "checkpoint.pt")
    with zipfile.ZipFile(run / "checkpoint.pt") as file:
        assert any(b"mkdir" in file.read(name) for name in file.namelist())
    with pytest.raises(CheckpointError, match=r"is damaged or no checkpoint \(UnpicklingError\)"):
        load_classifier(run)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([1, 2], "is not a checkpoint of format 1"),
        ({"epoch": 1}, "is not a checkpoint of format 1"),
        ({"format": 2}, "is not a checkpoint of format 1"),
        ({"format": 1, "epoch": 1}, "is not a checkpoint of a training run"),
    ],
)
def test_what_is_no_checkpoint_is_refused(run: Path, stored: object, message: str) -> None:
    torch.save(stored, run / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=message):
        RunFolder(run).load()


def test_a_folder_that_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no training run"):
        load_classifier(tmp_path)
    (run / "data.json").write_text('{"fingerprint": 1}')
    with pytest.raises(CheckpointError, match=r"is no training run: data\.json cannot be read"):
        load_classifier(run)
    (run / "config.yaml").write_text("task: classifier")
    with pytest.raises(CheckpointError, match=r"is no training run: .*config\.yaml: `out` is missing"):
        load_classifier(run)


def test_optimizer_states_of_other_learners_are_refused(make_run: MakeRun) -> None:
    run = make_run(trainer={"epochs": 1})
    train(run)
    file = Path(run.out) / "checkpoint.pt"
    stored = torch.load(file, weights_only=True)
    torch.save({**stored, "epoch": 0, "optimizers": {}}, file)
    with pytest.raises(CheckpointError, match="holds no state for the optimizer of `classifier`"):
        train(run)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(run)
    before = (run / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*: No space left on device"):
        folder.save(Checkpoint(epoch=1, modules={}, optimizers={}, history=[]))
    with pytest.raises(CheckpointError, match=r"cannot write .*/table\.json: No space left on device"):
        write_atomically(run / "table.json", b"{}")
    assert (run / "checkpoint.pt").read_bytes() == before
    assert not [path for path in run.iterdir() if path.name.startswith(".") or path.suffix == ".partial"]
    assert not (run / "table.json").exists()


def test_a_torch_that_fails_midway_leaves_nothing_half_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, stream: io.BytesIO) -> None:
        stream.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:603]")

    before = (run / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"is the disk full.; what was saved before is whole: make room and"):
        RunFolder(run).save(Checkpoint(epoch=1, modules={}, optimizers={}, history=[]))
    assert (run / "checkpoint.pt").read_bytes() == before
    assert not [path for path in run.iterdir() if path.name.startswith(".") or path.suffix == ".partial"]
