"""Training of motion tokens: what learns, from what, and that attackers begin anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from pydantic import ValidationError

from skelanon.configs.training import TokensRun, TrainingRun
from skelanon.export.bundle import read_bundle
from skelanon.sensors.body import rest_directions
from skelanon.sensors.joints import BONES, INDEX
from skelanon.train.anonymizers.kinematics import constant
from skelanon.train.anonymizers.tokens import MotionTokens
from skelanon.train.build import build_trained
from skelanon.train.checkpoint import RunFolder
from skelanon.train.clip_of_codes import CodeClassifier, CodePredictor
from skelanon.train.data.clips import Batch, clip
from skelanon.train.data.splits import split
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import CheckpointError
from skelanon.train.stream_of_clips import wanted
from skelanon.train.tokens import TokensTask, _surprise
from skelanon.train.trained import load_anonymizer, load_tokens
from skelanon.train.trainer import create_fabric, create_task, train

MakeRun = Callable[..., TrainingRun]
ADAM = {"name": "adam", "learning_rate": 0.005}


def settings(make_run: MakeRun, **changes: Any) -> TokensRun:
    tree: dict[str, Any] = {
        "data": {"fit": "pad", "frames": 48},
        "tokens": {"codes": 8, "hidden": 16, "window": 2},
        "objective": {"alpha": 0.5, "warm_up_epochs": 0},
        "adversaries": {"number": 3, "steps": 1, "renewed_every": 2, "optimizer": ADAM},
        "optimizer": ADAM,
    }
    run = make_run("tokens", **{**tree, **changes})
    assert isinstance(run, TokensRun)
    return run


def task_of(run: TokensRun) -> tuple[TokensTask, Batch]:
    """A task that has not begun, and a batch of all its training clips."""
    dataset = SkeletonDataset(run.data.folder)
    parts = split(dataset, run.data.split)
    task = create_task(run, dataset, parts)
    assert isinstance(task, TokensTask)
    task.setup(create_fabric(run.trainer))
    clips = task.clips(dataset, parts.train, run.data, run.trainer.seed)
    batch = Batch(*map(torch.stack, zip(*(clips[i] for i in range(len(parts.train))), strict=True)))
    return task, batch


def test_actions_are_learnt_through_codes(make_run: MakeRun) -> None:
    run = settings(make_run, objective={"alpha": 0.0}, trainer={"epochs": 40, "test_every": 40, "batch_size": 6})
    last = train(run)[-1]
    assert last["action_top1"] > 0.8
    assert last["action_loss"] < 0.5
    assert last["reconstruction_loss"] < 0.1


class Reader(torch.nn.Module):
    """Is sure of person 0, 1 or 2 where code 0, 1 or 2 is named more often than the others."""

    def forward(self, codes: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return 20 * (codes[..., :3] * there[..., None]).sum(1) / there.sum(1, keepdim=True)


def test_alpha_takes_out_of_the_codes_what_attackers_go_by(make_run: MakeRun) -> None:
    told = {}
    for alpha in (0.0, 5.0):
        torch.manual_seed(0)
        task, batch = task_of(settings(make_run, objective={"alpha": alpha, "warm_up_epochs": 0}))
        task._attack = lambda *_: torch.zeros(())  # type: ignore[method-assign]
        for name in ("adversary1", "adversary2", "adversary3"):
            task.learners[name].wrapped = Reader()
        told[alpha] = [float(task.step(batch, 999)["private_loss"]) for _ in range(30)]
    without, against = (np.mean(told[alpha][-15:]) for alpha in told)
    assert without > 0.5
    assert against < 0.3 * without


def test_sitting_down_counts_for_more_than_a_thumb_and_a_thumb_for_something(make_run: MakeRun) -> None:
    task, _ = task_of(settings(make_run))
    standing = constant(rest_directions()[list(BONES)])  # (24, 3)
    toward_the_sensor = torch.tensor([0.0, 0.0, -1.0])

    def costs(*joints: str) -> float:
        drawn = standing.clone()
        drawn[[BONES.index(INDEX[joint]) for joint in joints]] = toward_the_sensor
        return float((task._figures(drawn.flatten()) - task._figures(standing.flatten())).square().sum())

    assert costs() == 0
    assert costs("KneeLeft", "KneeRight") > 10 * costs("ThumbLeft", "ThumbRight")
    assert costs("ThumbLeft", "ThumbRight") > 1e-3


def test_what_is_drawn_is_to_be_what_all_who_do_it_have_in_common(make_run: MakeRun) -> None:
    """One course for each action, whoever was seen."""
    task, batch = task_of(settings(make_run, tokens={"codes": 8, "hidden": 16, "window": 2, "delay": 2}))
    assert task._courses.shape == (len(task.classes["action"]), 24, 75 + 72)
    lengths = task._courses[..., 75:].reshape(-1, 24, 24, 3).norm(dim=3)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.2))
    directions, _ = task._seen(batch)
    action = batch.targets[:, 0]
    course = task._courses[0][:6]  # the miniature's actions differ all along
    apart = [(task._figures(directions[action == one][:, :6]) - course).square().mean((1, 2)).mean() for one in (0, 1)]
    assert apart[0] < apart[1]


def test_who_is_drawn_late_by_a_window_more_or_less_is_drawn_well(make_run: MakeRun) -> None:
    """By two windows more he is not; and who is drawn so is told right."""
    task, batch = task_of(settings(make_run, tokens={"codes": 8, "hidden": 16, "window": 2, "delay": 2}))
    pairs = task._in_order(batch)
    pairs = pairs._replace(onset=torch.full_like(pairs.onset, 3))  # in the second window: drawn from frame 2 + 4 - 1
    begins = pairs.stream.begins

    def drawn(late: int) -> torch.Tensor:
        return wanted(task._courses, pairs.action, begins + 5 + late, pairs.stream.directions.shape[1])

    for late in (-2, 0, 2):
        apart = task._apart(drawn(late), pairs, pairs.action)
        assert apart.shape == pairs.action.shape
        torch.testing.assert_close(apart, torch.zeros_like(apart))
        first, following = task._likeness(drawn(late), pairs)
        assert torch.equal(torch.cat([first, following]).argmax(1), pairs.action)
    assert (task._apart(drawn(-4), pairs, pairs.action) > 0).all()
    assert (task._apart(drawn(4), pairs, pairs.action) > 0).all()


def test_a_clip_begins_where_a_joint_has_moved_by_ten_centimetres(make_run: MakeRun) -> None:
    task, _ = task_of(settings(make_run))
    standing = constant(rest_directions()[list(BONES)])
    clips = standing.repeat(3, 10, 1, 1)  # of the first, nothing moves
    for row, frame in ((1, 4), (2, 7)):
        clips[row, frame:, BONES.index(INDEX["ElbowLeft"])] = torch.tensor([0.0, 0.0, -1.0])
        clips[row, frame - 1, BONES.index(INDEX["HandTipLeft"])] = torch.tensor([0.0, -0.6, -0.8])  # some centimetres
    assert task._onset(clips.flatten(2)).tolist() == [0, 4, 7]


def test_clips_follow_each_other_in_whole_windows(make_run: MakeRun) -> None:
    task, _ = task_of(settings(make_run))
    torch.manual_seed(0)
    begins, windows = task._begins(torch.full((400,), 7))
    first, rest = begins[:, 0], begins[:, 1] - begins[:, 0] - 4  # seven frames are four windows
    assert (set(first.tolist()), set(rest.tolist())) == ({0, 1, 2, 3}, {1, 2, 3, 4})
    assert 0.5 < first.eq(0).float().mean() < 0.75
    longest, windows = task._begins(torch.full((400,), 24))
    assert set((longest[:, 1] - longest[:, 0]).tolist()) == {12}
    assert int(longest.max()) + 12 == windows


def test_attackers_learn_only_in_their_own_steps(make_run: MakeRun) -> None:
    task, batch = task_of(settings(make_run))
    task.train()
    anonymizer, adversary = task.learners["anonymizer"].network, task.learners["adversary1"].network
    before = [weight.clone() for weight in anonymizer.parameters()]
    codes = torch.nn.functional.one_hot(torch.randint(8, (18, 12)), 8).float()
    task._attack(codes, torch.ones(18, 12), batch.targets[:, 1])
    assert all(map(torch.equal, before, anonymizer.parameters()))
    assert all(weight.grad is None for weight in anonymizer.parameters())
    attacker = [weight.clone() for weight in adversary.parameters()]
    task._attack = lambda *_: torch.zeros(())  # type: ignore[method-assign]
    task.step(batch, 0)
    assert all(map(torch.equal, attacker, adversary.parameters()))
    assert not all(map(torch.equal, before, anonymizer.parameters()))


def test_one_attacker_after_the_other_forgets_everything(make_run: MakeRun) -> None:
    """Every second epoch of three steps; never at the beginning."""
    task, _ = task_of(settings(make_run, trainer={"epochs": 1, "batch_size": 6}))
    names = ["adversary1", "adversary2", "adversary3"]

    def weights() -> dict[str, torch.Tensor]:
        return {name: task.learners[name].network.tell[1].weight.detach().clone() for name in names}  # type: ignore

    renewed = {}
    for number in range(3 * 9):
        before = weights()
        task._renew(number)
        after = weights()
        forgot = [name for name in names if not torch.equal(before[name], after[name])]
        if forgot:
            renewed[number] = forgot
    assert renewed == {6: ["adversary1"], 12: ["adversary2"], 18: ["adversary3"], 24: ["adversary1"]}


def test_privacy_waits_and_then_grows(make_run: MakeRun) -> None:
    objective = {"alpha": 2.0, "warm_up_epochs": 3}
    task, _ = task_of(settings(make_run, objective=objective, trainer={"epochs": 1, "batch_size": 6}))
    assert [task._grown(3 * epoch) for epoch in (0, 3, 13, 23, 99)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_codes_that_the_action_foretells_are_no_surprise() -> None:
    """Every action has its own codes, of which the second follows from the first; the third is drawn."""
    torch.manual_seed(0)
    predictor = CodePredictor(8, 4)
    optimizer = torch.optim.Adam(predictor.parameters(), 0.02)

    def clips(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        action, drawn = torch.randint(4, (count,)), torch.randint(2, (2, count))
        numbers = torch.stack([action + 4 * drawn[0], (action + 1) % 4 + 4 * drawn[0], drawn[1]], 1)
        return torch.nn.functional.one_hot(numbers, 8).float(), action

    for _ in range(300):
        codes, action = clips(64)
        loss = _surprise(codes, predictor(codes, action), torch.ones(64, 3))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    codes, action = clips(512)
    expected = predictor.eval().requires_grad_(False)(codes, action)
    there = torch.zeros(512, 3)
    nats = [float(_surprise(codes, expected, there.index_fill(1, torch.tensor([one]), 1))) for one in range(3)]
    assert nats == pytest.approx([np.log(2), 0, np.log(2)], abs=0.1)
    later = codes.clone()
    later[:, 2] = 0
    assert torch.equal(predictor(later, action)[:, :3], expected)  # nothing is foretold by what comes after


def test_surprise_makes_codes_say_nothing_but_the_action(make_run: MakeRun) -> None:
    left = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        objective = {"alpha": 0.0, "surprise": weight, "warm_up_epochs": 0}
        task, batch = task_of(settings(make_run, objective=objective))
        task._attack = lambda *_: torch.zeros(())  # type: ignore[method-assign]
        left[weight] = [float(task.step(batch, 999)["surprise"]) for _ in range(60)][-10:]
    assert np.mean(left[2.0]) < 0.5 * np.mean(left[0.0])


def test_bodies_stay_as_they_were_seen_last_until_their_slot_ends(make_run: MakeRun) -> None:
    run = settings(make_run, tokens={"codes": 8, "hidden": 16, "window": 2, "presence": 16})
    task, batch = task_of(run)
    directions, frames = task._seen(batch)
    assert set(frames.tolist()) == {6, 8}
    for clip_directions, count in zip(directions, frames.tolist(), strict=True):
        assert torch.equal(clip_directions[count:], clip_directions[count - 1].expand(24 - count, -1))
    assert task._until(torch.tensor([1, 7, 8, 9, 17, 40]), 24).tolist() == [8, 8, 8, 16, 24, 24]
    forever, _ = task_of(settings(make_run))
    assert forever._until(torch.tensor([1, 7, 40]), 24).tolist() == [1, 7, 24]


def test_clips_are_as_recorded_and_what_is_not_there_decides_nothing(make_run: MakeRun) -> None:
    run = settings(make_run)
    task, batch = task_of(run)
    lengths = batch.present.sum((1, 2))
    assert set(lengths.tolist()) == {12, 16}
    for learner in task.learners.values():
        learner.network.eval()
    filled = batch._replace(joints=torch.where(batch.joints == 0, 7.0, batch.joints))
    for one, other in zip(task.measure(batch).values(), task.measure(filled).values(), strict=True):
        assert torch.equal(one[0], other[0])


def test_pad_neither_repeats_nor_moves(make_run: MakeRun) -> None:
    body = np.random.default_rng(0).uniform(1, 2, (5, 1, 25, 3)).astype(np.float32)
    body[1] = 0
    made = clip(body, settings(make_run).data)
    assert made.shape == (48, 1, 25, 3)
    np.testing.assert_array_equal(made[:5], body)
    assert not made[5:].any()
    longer = np.concatenate([body] * 20)
    np.testing.assert_array_equal(clip(longer, settings(make_run).data), longer[:48])


@pytest.mark.parametrize("kind", ["recurrent", "convolutional", "linear"])
def test_a_classifier_sees_codes_that_are_there_and_their_order(kind: Any) -> None:
    torch.manual_seed(0)
    network = CodeClassifier(kind, 8, 5).eval()
    codes = torch.nn.functional.one_hot(torch.randint(8, (4, 12)), 8).float()
    there = (torch.arange(12) < 9).float().expand(4, 12)
    logits = network(codes, there)
    changed = codes.clone()
    changed[:, 9:] = changed[:, 9:].roll(1, -1)
    assert torch.equal(network(changed, there), logits)
    assert not torch.allclose(network(codes[:, [8, 7, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11]], there), logits)
    network.reset()
    assert not torch.allclose(network(codes, there), logits)


def test_a_trained_run_becomes_a_bundle(make_run: MakeRun, tmp_path: Path) -> None:
    tokens = {"codes": 8, "hidden": 16, "window": 2, "presence": 24}
    run = settings(make_run, trainer={"epochs": 1, "test_every": 1}, tokens=tokens)
    train(run)
    build_trained(run.out, tmp_path / "tokens.onnx")
    manifest = read_bundle(tmp_path / "tokens.onnx").manifest
    assert (manifest.anonymizer, manifest.axes, manifest.root) == ("tokens", "camera", "model")
    assert manifest.bits_per_frame == 0.75  # three bits for each four frames
    assert manifest.presence_frames == 24
    assert manifest.state_size == MotionTokens(load_tokens(run.out).network).state_size
    assert "folder" not in str(manifest.provenance)
    with pytest.raises(CheckpointError, match="no float16 form"):
        build_trained(run.out, tmp_path / "half.onnx", precision="float16")
    with pytest.raises(CheckpointError, match="`task: tokens`, not of an anonymizer"):
        load_anonymizer(run.out)
    (other := RunFolder(tmp_path / "other")).path.mkdir()
    with pytest.raises(CheckpointError):
        load_tokens(other.path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"fit": "repeat"}}, "as recorded"),
        ({"data": {"fit": "pad", "bodies": 2}}, "of one body"),
        ({"data": {"fit": "pad", "frames": 7}}, "two windows have 8 frames"),
        ({"tokens": {"codes": 1}}, "greater than or equal to 2"),
        ({"tokens": {"presence": 20}}, "a multiple of 16 frames, those of a window"),
    ],
)
def test_settings_that_cannot_be(make_run: MakeRun, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(make_run, **changes)
