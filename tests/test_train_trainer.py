"""Runs: broken off and gone on with, diverged, finished, in another's folder; and what they need of other runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import nn

from skelanon.configs.training import OptimizerSettings, TrainingRun
from skelanon.sensors.joints import INDEX
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.checkpoint import RunFolder
from skelanon.train.data.clips import Batch
from skelanon.train.data.splits import split
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.ensemble import EnsembleTask
from skelanon.train.errors import TrainingError
from skelanon.train.networks import create_network
from skelanon.train.task import Learner
from skelanon.train.trained import load_classifier
from skelanon.train.trainer import Progress, create_fabric, create_task, train

MakeRun = Callable[..., TrainingRun]


class PowerCutError(Exception):
    pass


def cut(epoch: int, step: int) -> Callable[[Progress], None]:
    """A report that breaks a run off after a step."""

    def report(progress: Progress) -> None:
        if (progress.epoch, progress.step, progress.finished) == (epoch, step, False):
            raise PowerCutError

    return report


def checkpoint(run: TrainingRun) -> Any:
    return torch.load(Path(run.out) / "checkpoint.pt", weights_only=True)


def metrics(run: TrainingRun) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(run.out) / "metrics.jsonl").read_text().splitlines()]


def assert_same(one: Any, other: Any) -> None:
    """Bit for bit, whatever the nesting."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


@pytest.mark.parametrize("task", ["classifier", "adversarial", "tokens"])
def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(
    task: str, make_run: MakeRun, classifiers: dict[str, str]
) -> None:
    changes: dict[str, Any] = {"trainer": {"batch_size": 4}}  # four steps, of which one makes three maximisations
    if task == "adversarial":
        changes |= {"action": [classifiers["action"]], "private": [classifiers["private"]], "k": 3}
    if task == "tokens":  # of which one attacker begins anew after the break
        attackers = {"renewed_every": 2, "optimizer": {"name": "adam", "learning_rate": 0.01}}
        changes |= {"data": {"fit": "pad", "frames": 48}, "objective": {"alpha": 1.0}, "adversaries": attackers}
    whole, broken = make_run(task, **changes), make_run(task, **changes)
    history = train(whole)
    with pytest.raises(PowerCutError):
        train(broken, cut(epoch=3, step=2))
    assert [row["epoch"] for row in metrics(broken)] == [1, 2]
    seen: list[Progress] = []
    assert train(broken, seen.append) == history
    assert {progress.epoch for progress in seen} == {3, 4}
    assert_same(checkpoint(broken), checkpoint(whole))
    assert metrics(broken) == metrics(whole) == history
    assert shown_on_the_board(broken) == {
        name: [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in history if name in row]
        for name in history[0]
        if name != "epoch"
    }


def shown_on_the_board(run: TrainingRun) -> dict[str, Any]:
    """(epoch, value) of each metric."""
    events = EventAccumulator(str(Path(run.out) / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_what_was_shown_but_not_saved_is_shown_once(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, save = make_run(trainer={"epochs": 2}), RunFolder.save

    def fail(folder: RunFolder, state: Any) -> None:
        if state.epoch == 2:
            raise PowerCutError
        save(folder, state)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", fail)
        with pytest.raises(PowerCutError):
            train(run)
    assert [step for step, _ in shown_on_the_board(run)["loss"]] == [1, 2]
    train(run)
    assert [step for step, _ in shown_on_the_board(run)["loss"]] == [1, 2]


def test_divergence_ends_the_run_and_leaves_the_epochs_before(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match=r"diverged: loss is not finite in epoch 1, step 2; lower the learning"):
        train(make_run(optimizer={"learning_rate": 1e30}))
    run, begin = make_run(), Learner.begin_epoch

    def begin_well(learner: Learner, epoch: int) -> None:
        begin(learner, epoch)
        if epoch >= 2:
            learner.optimizer.param_groups[0]["lr"] = 1e30

    monkeypatch.setattr(Learner, "begin_epoch", begin_well)
    with pytest.raises(TrainingError, match=r"in epoch 3, step 2; .* holds the 2 epochs before"):
        train(run)
    found = RunFolder(run.out).load()
    assert found is not None
    assert found.epoch == len(found.history) == len(metrics(run)) == 2
    assert all(weight.isfinite().all() for weight in found.modules["classifier"].values())


def test_weights_that_the_last_step_has_ruined_are_not_saved(make_run: MakeRun) -> None:
    run = make_run(optimizer={"learning_rate": 1e30}, trainer={"batch_size": 18, "epochs": 1})  # one finite loss
    with pytest.raises(TrainingError, match=r"diverged: .*test_loss.* not finite in epoch 1, step 1"):
        train(run)
    assert RunFolder(run.out).load() is None


def files(run: TrainingRun) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(run.out).rglob("*")}


def test_a_finished_run_returns_its_history_and_touches_nothing(make_run: MakeRun) -> None:
    run = make_run(trainer={"epochs": 1})
    history, before = train(run), files(run)
    assert train(run, cut(1, 1)) == history
    assert files(run) == before


def test_a_folder_is_for_one_run_alone(make_run: MakeRun, tmp_path: Path) -> None:
    data = Path(shutil.copytree(make_run().data.folder, tmp_path / "data"))
    run = make_run(data={"folder": str(data)}, trainer={"epochs": 1})
    train(run)
    before = files(run)
    other = make_run(data={"folder": str(data)}, trainer={"epochs": 2}, out=run.out)
    with pytest.raises(TrainingError, match="holds a run of other settings: set `out` to another folder"):
        train(other)
    changed = json.loads((data / "dataset.json").read_bytes()) | {"fingerprint": "another"}
    (data / "dataset.json").write_text(json.dumps(changed))
    with pytest.raises(TrainingError, match="holds a run of other data: set `out` to another folder"):
        train(run)
    assert files(run) == before


def test_a_share_for_each_process_is_seen_to_before_any_is_started(make_run: MakeRun) -> None:
    with pytest.raises(TrainingError, match=r"`trainer\.batch_size` is 7: it must be a multiple of 2 devices"):
        train(make_run(trainer={"devices": 2, "batch_size": 7}))
    with pytest.raises(TrainingError, match=r"`trainer\.devices` is 10, too many for batches of 10 and 9 test clips"):
        train(make_run(trainer={"devices": 10, "batch_size": 10}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"private": ["action"]}, "`private` names .*, which tells `action`, not `subject`"),
        ({"action": ["private"]}, "`action` names .*, which tells `subject`, not `action`"),
        (
            {"data": {"split": {"by": "trial", "test": [3]}}},
            r"`data.split`: .*train=\[0, 1\].*, not .*train=None",
        ),
        ({"data": {"frames": 20}}, "`action` names .*, which was trained with another `data.frames`: 16, not 20"),
        ({"data": {"fit": "resample"}}, "another `data.fit`: repeat, not resample"),
        ({"data": {"folder": "other"}}, "`action` names .*, which was trained on another data set than"),
        ({"action": ["unbegun"]}, "unbegun is no training run: 'unbegun/config.yaml' is no file"),
    ],
)
def test_classifiers_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str, make_run: MakeRun, classifiers: dict[str, str], tmp_path: Path
) -> None:
    names = {"action": ["action"], "private": ["private"]} | {k: v for k, v in changes.items() if k != "data"}
    runs = {key: [classifiers.get(name, name) for name in value] for key, value in names.items()}
    data = dict(changes.get("data", {}))
    if "folder" in data:
        data["folder"] = shutil.copytree(make_run().data.folder, tmp_path / "data").as_posix()
        record = json.loads((tmp_path / "data" / "dataset.json").read_bytes())
        (tmp_path / "data" / "dataset.json").write_text(json.dumps(record | {"fingerprint": "other"}))
    run = make_run("ensemble", data=data, **runs)
    with pytest.raises((TrainingError, ValueError), match=message):
        train(run)
    assert not Path(run.out).exists()


def test_without_epochs_public_weights_become_a_run_unchanged(make_run: MakeRun, tmp_path: Path) -> None:
    torch.manual_seed(7)
    public = create_network("sgn", 3, 1)
    torch.save({f"module.{name}": weight for name, weight in public.state_dict().items()}, tmp_path / "public.pt")
    run = make_run(network={"weights": str(tmp_path / "public.pt")}, trainer={"epochs": 0})
    (only,) = history = train(run)
    assert only.keys() == {"epoch", "test_loss", "action_top1"}
    assert only["epoch"] == 0
    assert_same(load_classifier(run.out).network.state_dict(), public.state_dict())
    before = files(run)
    assert train(run) == history
    assert files(run) == before


def test_learning_rates_warm_up_and_fall_after_their_milestones() -> None:
    settings = OptimizerSettings(learning_rate=0.8, warm_up_epochs=2, milestones=[3, 5], gamma=0.5)
    learner, constant = (Learner(nn.Linear(1, 1), s) for s in (settings, OptimizerSettings(learning_rate=0.8)))
    rates: list[tuple[float, float]] = []
    for epoch in range(6):
        learner.begin_epoch(epoch)
        constant.begin_epoch(epoch)
        rates.append((learner.optimizer.param_groups[0]["lr"], constant.optimizer.param_groups[0]["lr"]))
    assert [rate for rate, _ in rates] == pytest.approx([0.4, 0.8, 0.8, 0.4, 0.4, 0.2])
    assert [rate for _, rate in rates] == [0.8] * 6


def test_in_mixed_precision_the_normalisation_and_the_losses_stay_float32(
    make_run: MakeRun, classifiers: dict[str, str]
) -> None:
    run = make_run(
        "ensemble",
        trainer={"precision": "bf16-mixed", "epochs": 1},
        action=[classifiers["action"]],
        private=[classifiers["private"]],
    )
    assert train(run)[0]["distance_m2"] > 0
    dataset = SkeletonDataset(run.data.folder)
    parts = split(dataset, run.data.split)
    task = create_task(run, dataset, parts)
    assert isinstance(task, EnsembleTask)
    task.setup(create_fabric(run.trainer))
    clips = task.clips(dataset, parts.test, run.data)
    joints, present, targets = (torch.stack(tensors) for tensors in zip(*(clips[i] for i in range(4)), strict=True))
    joints[..., 2] += 4  # metres from the sensor: bfloat16 would be off by a centimetre
    seen: list[torch.Tensor] = []
    handle = task._action[0].network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    terms = task.step(Batch(joints, present, targets), 0)  # of the anonymizer when new: the identity
    handle.remove()
    assert float(terms["distance_m2"]) == 0
    assert all(loss.dtype == torch.float32 for loss in terms.values())
    expected = Normalised(nn.Identity(), 1).sequence(joints, present).permute(0, 4, 1, 3, 2)
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=0)


def clips_seen(run: TrainingRun) -> tuple[torch.Tensor, ...]:
    """The 18 training clips as they are, as a network is trained on them, and as it is tested on them."""
    dataset = SkeletonDataset(run.data.folder)
    parts = split(dataset, run.data.split)
    task = create_task(run, dataset, parts)
    task.setup(create_fabric(run.trainer))
    clips = task.clips(dataset, parts.train, run.data)
    batch = Batch(*(torch.stack(tensors) for tensors in zip(*(clips[i] for i in range(18)), strict=True)))
    raw = Normalised(nn.Identity(), 1).sequence(batch.joints, batch.present).permute(0, 4, 1, 3, 2)
    seen: list[torch.Tensor] = []
    task.learners["classifier"].network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    task.train()
    task.step(batch, 0)
    task.measure(batch)
    return raw, *seen


def test_noise_is_for_training_clips_alone_and_as_large_as_it_says(make_run: MakeRun) -> None:
    raw, trained, tested = clips_seen(make_run(noise_m=0.1))
    stds = (trained - raw).std(dim=(1, 2, 3, 4))
    assert 0 < stds.min() < stds.max() <= 0.11
    assert stds.mean() == pytest.approx(0.05, abs=0.02)
    torch.testing.assert_close(tested, raw)


def test_other_bodies_are_for_training_clips_alone_and_normalised_as_any_other(make_run: MakeRun) -> None:
    raw, trained, tested = clips_seen(make_run(bones=0.2))
    middle = INDEX["SpineMid"]
    assert not trained[:, :, :, middle].any()  # the origin, whatever the length of the bone that leads there
    assert (trained - raw).square().mean().sqrt() > 0.02
    torch.testing.assert_close(tested, raw)
    raw, trained, tested = clips_seen(make_run(offset_m=0.1))
    moved = trained - raw
    torch.testing.assert_close(moved, moved[:, :, :1].expand_as(moved), atol=1e-6, rtol=0)
    assert moved.square().mean().sqrt() > 0.02
    torch.testing.assert_close(tested, raw)


def test_an_anonymizer_that_throws_joints_away_has_diverged(make_run: MakeRun, classifiers: dict[str, str]) -> None:
    run = make_run(
        "ensemble",
        optimizer={"learning_rate": 100.0},
        action=[classifiers["action"]],
        private=[classifiers["private"]],
    )
    with pytest.raises(TrainingError, match=r"diverged: joints are moved by \d+ m in epoch 1, step 2; lower"):
        train(run)
