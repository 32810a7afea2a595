"""Both algorithms: what stays fixed, what learns and when, and that the objective is equation 1."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.configs.training import AutoEncoderRun, TrainingRun
from skelanon.train.adversarial import AdversarialTask
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.anonymizers.residual import ResidualMlp
from skelanon.train.checkpoint import Checkpoint, RunFolder
from skelanon.train.data.clips import Batch
from skelanon.train.data.splits import split
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.ensemble import EnsembleTask
from skelanon.train.samples import random_samples
from skelanon.train.task import Task
from skelanon.train.trained import load_anonymizer, load_classifier
from skelanon.train.trainer import Progress, create_fabric, create_task, train

MakeRun = Callable[..., TrainingRun]
Weights = dict[str, Tensor]


@pytest.fixture
def make_anonymizer_run(make_run: MakeRun, classifiers: dict[str, str]) -> MakeRun:
    """Makes settings of a short run against `action` and `private`: four steps an epoch."""
    runs: dict[str, Any] = {"action": [classifiers["action"]], "private": [classifiers["private"]]}
    return lambda task, **changes: make_run(
        task, **{**runs, "trainer": {"epochs": 2, "batch_size": 4, "test_every": 2}, **changes}
    )


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the tasks that `train` makes."""
    made: list[Task] = []

    def create(*arguments: Any) -> Task:
        made.append(create_task(*arguments))
        return made[-1]

    monkeypatch.setattr("skelanon.train.trainer.create_task", create)
    return made


def state(network: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(one: Weights, other: Weights) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name, tensor in one.items() if not torch.equal(tensor, other[name])}


def finished(run: TrainingRun) -> Checkpoint:
    return RunFolder(run.out).finished()


@pytest.mark.parametrize("task", ["adversarial", "ensemble"])
def test_fixed_classifiers_keep_weights_and_statistics(
    task: str, make_anonymizer_run: MakeRun, tasks: list[Any]
) -> None:
    run = make_anonymizer_run(task)
    identity = ResidualMlp(1).fc2.weight
    train(run)
    (made,) = tasks
    for member in (*made._action, *made._private):
        assert not changed(state(member.network), state(load_classifier(member.path).network))
        assert not any(module.training for module in member.network.modules())
        assert not any(weight.requires_grad for weight in member.network.parameters())
    assert not torch.equal(finished(run).modules["anonymizer"]["fc2.weight"], identity)


def test_the_adversary_learns_and_its_statistics_with_it(make_anonymizer_run: MakeRun) -> None:
    run = make_anonymizer_run("adversarial")
    train(run)
    before = state(load_classifier(run.private[0]).network)  # type: ignore[union-attr]
    after = finished(run).modules["adversary1"]
    assert changed(before, after) >= {"fc.weight", "fc.bias", "cnn.bn1.running_mean", "cnn.bn1.weight"}


def test_each_of_several_adversaries_takes_its_own_step(
    make_anonymizer_run: MakeRun, classifiers: dict[str, str]
) -> None:
    one, both = (
        make_anonymizer_run(
            "adversarial", private=[classifiers["private"]] * number, objective={"alpha": 0.0, "beta": 1.0}
        )
        for number in (1, 2)
    )
    alone, history = train(one), train(both)
    assert history[0]["adversary_loss"] == pytest.approx(2 * alone[0]["adversary_loss"], rel=0.33)  # dropout differs
    before = state(load_classifier(both.private[0]).network)  # type: ignore[union-attr]
    for number in (1, 2):
        assert "fc.weight" in changed(before, finished(both).modules[f"adversary{number}"])
        assert f"adversary{number}_top1" in history[-1]


def test_minimisation_leaves_the_adversary_alone(make_anonymizer_run: MakeRun) -> None:
    run = make_anonymizer_run("adversarial", k=100)
    history = train(run)
    assert "adversary_loss" not in history[0]
    assert history[-1]["adversary1_top1"] == history[-1]["private1_top1"]
    assert not changed(
        state(load_classifier(run.private[0]).network),  # type: ignore[union-attr]
        finished(run).modules["adversary1"],
    )
    assert set(finished(run).optimizers["adversary1"]["state"]) == set()


def test_the_adversary_is_in_eval_mode_but_for_its_own_steps(
    make_anonymizer_run: MakeRun, tasks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[bool, bool]] = []
    setup = AdversarialTask.setup

    def watch(task: AdversarialTask, fabric: Any) -> None:
        setup(task, fabric)
        task.learners["adversary1"].network.register_forward_pre_hook(
            lambda network, _: modes.append((network.training, next(network.parameters()).requires_grad))
        )

    monkeypatch.setattr(AdversarialTask, "setup", watch)
    train(make_anonymizer_run("adversarial", trainer={"epochs": 1, "batch_size": 9}))
    testing = (False, True)
    assert modes == [(False, False), (True, True)] * 2 + [testing]


def test_k_steps_of_minimisation_come_before_each_of_maximisation(make_anonymizer_run: MakeRun) -> None:
    seen: list[Progress] = []
    train(make_anonymizer_run("adversarial", k=3), seen.append)
    steps = [progress for progress in seen if not progress.finished]
    assert len(steps) == 8
    maximised = [number for number, progress in enumerate(steps, 1) if "adversary_loss" in progress.metrics]
    assert maximised == [3, 6]
    assert all("action_loss" in progress.metrics for progress in steps)


def test_alpha_has_no_part_in_maximisation(make_anonymizer_run: MakeRun) -> None:
    still, one_epoch = {"learning_rate": 1e-300}, {"epochs": 1}  # the anonymizer stays the identity
    adversaries, losses = [], []
    for alpha in (0.0, 7.0):
        objective = {"alpha": alpha, "beta": 1.0}
        run = make_anonymizer_run("adversarial", objective=objective, optimizer=still, trainer=one_epoch)
        losses.append(train(run)[0]["loss"])
        adversaries.append(finished(run).modules["adversary1"])
    assert losses[0] != losses[1]
    assert not changed(*adversaries)


class Unequal(NamedTuple):
    """Classes of unequal size, and an untrained task on them."""

    task: EnsembleTask
    batch: Batch
    anonymizer: ResidualMlp


@pytest.fixture(scope="module")
def make_unequal(write_dataset: Callable[..., SkeletonDataset], make_run: MakeRun) -> Callable[..., Unequal]:
    """Makes a task on sequences of three persons, half of them of the first, with bodies that come and go."""
    subjects, actions = [0, 0, 0, 1, 1, 2, 0, 1], [0, 1, 1, 0, 1, 1, 0, 1]
    joints = random_samples(tracks=8, frames=16, bodies_per_sample=2, seed=4).joints  # (T, N, M, V, C)
    labels = [{"subject": s, "action": a, "trial": int(i > 5)} for i, (s, a) in enumerate(zip(subjects, actions))]  # noqa: B905
    dataset = write_dataset(*((joints[:, i], row) for i, row in enumerate(labels)))
    data = {"folder": str(dataset.folder), "split": {"by": "trial", "test": [1]}, "bodies": 2}

    def classifier(label: str, seed: int) -> str:
        run = make_run(label=label, data=data, trainer={"epochs": 0, "seed": seed})
        train(run)
        return run.out

    members = {label: [classifier(label, seed) for seed in (1, 2)] for label in ("action", "private")}

    def make(objective: dict[str, Any], count: int) -> Unequal:
        runs: dict[str, Any] = {label: paths[:count] for label, paths in members.items()}
        run = make_run("ensemble", data=data, objective=objective, **runs)
        parts = split(dataset, run.data.split)
        task = create_task(run, dataset, parts)
        assert isinstance(task, EnsembleTask)
        anonymizer = task.learners["anonymizer"].network
        assert isinstance(anonymizer, ResidualMlp)
        torch.manual_seed(3)
        nn.init.normal_(anonymizer.fc2.weight, std=0.02)
        task.setup(create_fabric(run.trainer))
        clips = task.clips(dataset, parts.train, run.data)
        batch = Batch(*(torch.stack(tensors) for tensors in zip(*(clips[i] for i in (0, 3, 5)), strict=True)))
        return Unequal(task, batch, anonymizer)

    return make


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("reduction", ["masked", "reference"])
@pytest.mark.parametrize("privacy", ["entropy", "kl_to_prior"])
def test_the_objective_is_equation_1(
    privacy: str, reduction: str, count: int, make_unequal: Callable[..., Unequal]
) -> None:
    objective = {"alpha": 0.7, "beta": 30.0, "privacy": privacy, "reduction": reduction}
    task, batch, anonymizer = make_unequal(objective, count)
    assert 0 < batch.present.mean() < 1
    with torch.no_grad():
        raw = Normalised(nn.Identity(), 2).sequence(batch.joints, batch.present)
        anonymous = Normalised(anonymizer, 2).sequence(batch.joints, batch.present)
        clips = anonymous.permute(0, 4, 1, 3, 2)
        action = [member.network(clips).softmax(1).double().numpy() for member in task._action]
        private = [member.network(clips).softmax(1).double().numpy() for member in task._private]
    losses = {name: float(loss) for name, loss in task.step(batch, 0).items()}

    rows = range(3)
    cross_entropy = sum(-np.log(p[rows, batch.targets[:, 0]]).mean() for p in action)
    prior = np.array([3, 2, 1]) / 6  # of the six training sequences
    told = {
        "entropy": sum((p * np.log(p)).sum(1).mean() for p in private),
        "kl_to_prior": sum((p * np.log(p / prior)).sum(1).mean() for p in private),
    }[privacy]
    squares = (raw - anonymous).square().double().numpy()  # (N, T, P, V, C)
    there = batch.present.numpy() > 0
    moved = squares[there].mean() if reduction == "masked" else squares.mean()
    assert losses == pytest.approx(
        {
            "loss": cross_entropy + 0.7 * told + 30 * moved,
            "action_loss": cross_entropy,
            "private_loss": told,
            "distance_m2": moved,
        },
        rel=1e-5,
    )


def test_a_step_goes_down_the_objective(make_unequal: Callable[..., Unequal]) -> None:
    task, batch, anonymizer = make_unequal({"alpha": 0.7, "beta": 30.0}, 2)
    before = state(anonymizer)
    task.learners["anonymizer"].optimizer.param_groups[0]["lr"] = 1e-4
    losses = [float(task.step(batch, number)["loss"]) for number in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert changed(before, state(anonymizer)) == before.keys()


def test_the_encoder_stays_as_it_was_pre_trained(make_run: MakeRun, make_anonymizer_run: MakeRun) -> None:
    pre = make_run("auto_encoder", trainer={"epochs": 2, "batch_size": 50}, optimizer={"name": "adam"})
    assert isinstance(pre, AutoEncoderRun)
    first, second = train(pre)
    assert second["test_mse_m2"] < first["test_mse_m2"]
    anonymizer = {"kind": "auto_encoder", "weights": pre.out}
    run = make_anonymizer_run("ensemble", anonymizer=anonymizer, optimizer={"learning_rate": 0.001})
    train(run)
    differ = changed(finished(pre).modules["anonymizer"], state(load_anonymizer(run.out).network))
    assert differ
    assert all(name.startswith("decoder.") for name in differ)


def test_the_adversarys_learning_rate_is_its_own(make_anonymizer_run: MakeRun, tasks: list[Any]) -> None:
    rates: list[tuple[float, ...]] = []

    def report(progress: Progress) -> None:
        if progress.finished:
            learners = tasks[0].learners
            rates.append(tuple(learners[n].optimizer.param_groups[0]["lr"] for n in ("anonymizer", "adversary1")))

    train(
        make_anonymizer_run(
            "adversarial",
            optimizer={"learning_rate": 0.002, "milestones": [1]},
            private_optimizer={"learning_rate": 0.003},
        ),
        report,
    )
    assert rates == [(0.002, 0.003), (pytest.approx(0.0002), 0.003)]
