"""Motion tokens: what is published follows from codes and from nothing else."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor

from skelanon.configs.training import TokensSettings
from skelanon.export.bundle import read_bundle
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.samples import Samples
from skelanon.sensors.body import ancestor_matrix, bone_lengths, difference_matrix, rest_directions
from skelanon.sensors.joints import BONES, INDEX
from skelanon.sensors.population import Activity, motion, population
from skelanon.train.anonymizers.facing import Facing
from skelanon.train.anonymizers.tokens import MotionTokens, TokenNetwork
from skelanon.train.build import export_module
from skelanon.train.samples import extreme_samples, random_samples

FRAMES = 40


def tokens(**changes: float) -> MotionTokens:
    """New weights, larger than usual, so that codes differ."""
    torch.manual_seed(5)
    network = TokenNetwork(TokensSettings.model_validate({"codes": 16, "hidden": 24, "window": 4, **changes})).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(3)
    return MotionTokens(network).requires_grad_(False)


def walkers(count: int = 4, seed: int = 2) -> Tensor:
    """(N, T, 1, 25, 3)."""
    times = np.arange(FRAMES) / 30
    people = population(seed, count)
    return torch.from_numpy(np.stack([motion(one, Activity.WALK, times)[:, None] for one in people]))


def published(model: MotionTokens, joints: Tensor) -> Tensor:
    return model.sequence(joints, torch.ones(joints.shape[:3]))


def test_the_stream_names_and_draws_what_training_does() -> None:
    model = tokens(smoothing=1.0)
    joints = walkers()
    directions = model.facing(joints.flatten(0, 2).flatten(1)).unflatten(0, joints.shape[:2])
    _, codes, drawn = model.network(directions[:, ::2], 0.0)
    assert len(codes.argmax(-1).unique()) > 1
    rows = published(model, joints)
    torch.testing.assert_close(_shown(rows[:, ::2]), _unit(drawn), atol=1e-5, rtol=0)
    between = (drawn[:, :-1] + drawn[:, 1:]) / 2
    within = torch.arange(drawn.shape[1] - 1) % 4 != 2  # the next of windows begins with looked frames 3, 7, ...
    torch.testing.assert_close(_shown(rows[:, 1:-1:2])[:, within], _unit(between)[:, within], atol=1e-5, rtol=0)


def _shown(rows: Tensor) -> Tensor:
    """(N, F, 1, 25, 3) to (N, F, 24, 3), the directions of bones."""
    return bones(rows.flatten(0, 2).flatten(1))[1].reshape(len(rows), -1, 24, 3)


def _unit(directions: Tensor) -> Tensor:
    """(N, F, 72) to (N, F, 24, 3), of length one."""
    bone = directions.reshape(len(directions), -1, 24, 3)
    unit: Tensor = bone / bone.norm(dim=3, keepdim=True)
    return unit


def bones(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths and directions of the bones of (N, 75) rows."""
    vectors = torch.einsum("jk,nkc->njc", torch.from_numpy(difference_matrix()).float(), rows.reshape(-1, 25, 3))
    vectors = vectors[:, list(BONES)]
    lengths = vectors.norm(dim=2, keepdim=True)
    return lengths[..., 0], vectors / lengths


def test_bodies_places_and_headings_have_no_influence_to_the_last_bit() -> None:
    model, joints = tokens(), walkers(1)
    random = np.random.default_rng(3)
    bone = difference_matrix() @ joints.numpy().astype(np.float64)
    out = published(model, joints)
    for _ in range(5):
        other = ancestor_matrix() @ (bone * random.uniform(0.7, 1.4, (25, 1)))
        yaw = random.uniform(-np.pi, np.pi)
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        elsewhere = other @ turn + random.uniform(-3, 3, 3)
        assert torch.equal(published(model, torch.from_numpy(elsewhere.astype(np.float32))), out)


def test_a_clip_has_no_more_outcomes_than_its_codes() -> None:
    """Two codes and two whole windows: four, whoever comes."""
    model = tokens(codes=2)
    random = random_samples(tracks=200, frames=15, bodies_per_sample=1, seed=4).joints  # the second code is due in 15th
    out = published(model, torch.from_numpy(random).transpose(0, 1))
    assert 2 <= len(torch.unique(out.flatten(1), dim=0)) <= 4
    assert model.bits_per_frame == 1 / 8


def test_what_is_drawn_follows_only_from_windows_that_are_over() -> None:
    model, joints = tokens(), walkers()
    changed = joints.clone()
    changed[:, 17:] = walkers(4, seed=9)[:, 17:]
    before, after = published(model, joints), published(model, changed)
    assert torch.equal(before[:, :22], after[:, :22])  # the third window ends with the 23rd frame
    assert not torch.equal(before[:, 22:], after[:, 22:])


def test_before_the_first_code_everybody_stands_at_rest() -> None:
    out = published(tokens(), walkers())  # the first code is due with the seventh frame
    at_rest = torch.from_numpy(rest_directions()[list(BONES)]).float().expand(4 * 6, -1, -1)
    torch.testing.assert_close(bones(out[:, :6].flatten(0, 2).flatten(1))[1], at_rest, atol=1e-5, rtol=0)
    assert (out[:, 6] - out[:, 5]).abs().max() > 0.01


def test_a_frame_in_which_the_body_is_withheld_is_not_seen() -> None:
    model, joints = tokens(), walkers()
    present = torch.ones(joints.shape[:3])
    present[:, [3, 20]] = 0
    out = model.sequence(joints * present[..., None, None], present)
    assert not out[:, [3, 20]].any()
    there = [frame for frame in range(FRAMES) if frame not in (3, 20)]
    assert torch.equal(out[:, there], published(model, joints[:, there]))


def test_the_drawn_body_is_the_template_on_a_floor_before_the_sensor() -> None:
    out = published(tokens(), walkers())
    lengths, _ = bones(out.flatten(0, 2).flatten(1))
    assert (lengths - torch.from_numpy(bone_lengths()[list(BONES)])).abs().max() < 1e-5
    assert (out[..., INDEX["SpineBase"], 0] == 0).all()
    assert (out[..., INDEX["SpineBase"], 2] == 3).all()
    feet = out[..., [INDEX["FootLeft"], INDEX["FootRight"]], 1]
    torch.testing.assert_close(feet.amin(-1), torch.full(out.shape[:3], -1.0), atol=1e-6, rtol=0)


def test_drawn_motion_is_smooth_where_codes_change() -> None:
    """Two low-pass filters in a row answer a jump by steps of at most max n (1 - a)^(n - 1) a^2 of it, n = 1, 2, ..."""
    model, joints, share = tokens(smoothing=0.2), walkers(), 0.2
    step = max(n * (1 - share) ** (n - 1) * share**2 for n in range(1, 20))
    state, seen = torch.zeros(len(joints), model.state_size), []
    for frame in joints.unbind(1):
        state = model.advance(frame, None, state)
        seen.append(state)
    _, told, _, smooth, _ = torch.split(torch.stack(seen, 1), [96, 24, 72, 72, 1], 2)
    drawn = model.network.draw(told)
    assert drawn.diff(dim=1).abs().max() > 0.2
    jump = drawn.amax() - drawn.amin()
    assert smooth.diff(dim=1).abs().max() < step * jump


def test_a_body_that_faces_the_sensor_is_not_turned_and_one_without_breadth_stays() -> None:
    rows = walkers(1)[0].flatten(1)
    rows = rows - rows[:, :3].repeat(1, 25)
    faced = Facing()(rows).unflatten(1, (24, 3))
    across = [list(BONES).index(INDEX[name]) for name in ("HipRight", "HipLeft")]
    assert (faced[:, across[0], 0] > 0.3).all()  # the right hip to +x
    assert (faced[:, across[1], 0] < -0.3).all()
    assert (faced.norm(dim=2) - 1).abs().max() < 1e-6
    line = torch.zeros(1, 75)
    line[0, 1::3] = torch.arange(25.0)
    assert Facing()(line).isfinite().all()


def test_a_body_on_its_side_is_not_turned() -> None:
    """Seen from above it has hardly a breadth, and noise would turn it; all of it stays, not the half."""
    faced = Facing()(walkers(1)[0].flatten(1)).unflatten(1, (24, 3))
    on_its_side = faced.roll(1, -1)  # right is up, and up is away from the sensor
    bone = torch.zeros(len(faced), 25, 3)
    bone[:, list(BONES)] = on_its_side
    joints = torch.from_numpy(ancestor_matrix()).float() @ bone
    turned = Facing()(joints.flatten(1)).unflatten(1, (24, 3))
    torch.testing.assert_close(turned, on_its_side, atol=1e-5, rtol=0)


def test_a_bundle_says_what_a_frame_can_carry_and_runs_as_torch_does(tmp_path: Path) -> None:
    model = tokens()
    file = tmp_path / "tokens.onnx"
    export_module(
        model, file, "float32", name="tokens", anonymizer="tokens", bits_per_frame=model.bits_per_frame, provenance={}
    )
    bundle = read_bundle(file)
    assert bundle.manifest.bits_per_frame == 0.5
    joints = walkers(3)
    runner = OnnxRuntimeCpu(bundle)
    present = np.ones((3, 1), np.float32)
    try:
        frames = [runner.step(range(3), [not t] * 3, joints[:, t].numpy(), present) for t in range(FRAMES)]
    finally:
        runner.close()
    np.testing.assert_allclose(np.stack(frames, 1), published(model, joints), atol=1e-5)


@pytest.mark.parametrize(
    "samples", extreme_samples(bodies_per_sample=1), ids=["turned", "nearly", "short", "far, nearly", "far"]
)
def test_whatever_comes_a_body_is_drawn(samples: Samples) -> None:
    joints = torch.from_numpy(samples.joints)
    out = published(tokens(), joints.transpose(0, 1))
    assert out.isfinite().all()
    assert ((out - out[..., :1, :]).norm(dim=-1) < 2).all()
