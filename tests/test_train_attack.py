"""The adversarial attack: the classifier errs, a viewer sees little, and the classifier stays what it was."""

import copy
from typing import NamedTuple

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import BONES, PARENTS
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.attack import AttackSettings, attack, perceptual_loss
from skelanon.train.errors import TrainingError
from skelanon.train.samples import random_samples

PERSONS, FRAMES = 4, 12


class Clips(NamedTuple):
    joints: Tensor
    present: Tensor
    labels: Tensor

    def only(self, part: Tensor) -> "Clips":
        return Clips(*(value[part] for value in self))


def clips() -> Clips:
    """32 normalised clips: each person has one size, poses change slowly, body 1 is there in some frames."""
    poses = random_samples(tracks=32, frames=2, bodies_per_sample=1, seed=6)
    start, end = torch.from_numpy(poses.joints)  # (N, 1, V, C)
    labels = torch.arange(32) % PERSONS
    size = (1 + 0.08 * labels)[:, None, None, None, None]
    way = torch.linspace(0, 0.3, FRAMES)[:, None, None, None]
    joints = torch.lerp(start[:, None], end[:, None], way) * size  # (N, T, 1, V, C)
    joints = torch.cat([joints, joints + 0.5], 2)
    present = torch.ones(32, FRAMES, 2)
    present[:, : FRAMES // 2, 1] = 0
    present[::2, :, 1] = 0
    joints = Normalised(nn.Identity(), 2).sequence(joints * present[..., None, None], present)
    return Clips(joints, present, labels)


def to_clips(joints: Tensor) -> Tensor:
    return joints.permute(0, 4, 1, 3, 2)  # (N, C, T, V, M)


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """Tells all 32 clips apart, or there would be nothing to attack; batch norm shows whether it runs in eval mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.BatchNorm3d(3),
        nn.Conv3d(3, 16, (3, 25, 2)),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.LazyLinear(PERSONS),
    )
    data = clips()
    network(to_clips(data.joints))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(to_clips(data.joints)), data.labels))
        optimizer.step()
    optimizer.zero_grad()
    assert (predicted(network.eval(), data.joints) == data.labels).all()
    return network


@torch.no_grad()
def predicted(network: nn.Module, joints: Tensor) -> Tensor:
    result: Tensor = network(to_clips(joints)).argmax(1)
    return result


def bone_lengths(joints: Tensor) -> Tensor:
    lengths: Tensor = (joints[..., list(BONES), :] - joints[..., [PARENTS[joint] for joint in BONES], :]).norm(dim=-1)
    return lengths


def test_the_classifier_errs_on_every_clip_and_bodies_hardly_change(classifier: nn.Module) -> None:
    data = clips()
    attacked = attack(classifier, *data, AttackSettings())
    assert attacked.shape == data.joints.shape
    assert (predicted(classifier, attacked) != data.labels).all()
    assert not attacked[data.present == 0].any()
    there = data.present > 0
    raw = bone_lengths(data.joints)[there]
    changed = (bone_lengths(attacked)[there] - raw).abs()
    assert changed.mean() < 0.02 * raw.mean()  # the next person's bones differ by 8 %
    assert (attacked - data.joints)[there].square().mean().sqrt() < 0.1


def test_the_perceptual_loss_is_what_keeps_bones_and_motion(classifier: nn.Module) -> None:
    data = clips()
    careful, careless = (
        attack(classifier, *data, AttackSettings(classification_weight=weight)) for weight in (0.6, 1.0)
    )
    assert (predicted(classifier, careless) != data.labels).all()
    bones = [
        (bone_lengths(attacked) - bone_lengths(data.joints)).square().mean().sqrt() for attacked in (careful, careless)
    ]
    bends = [(attacked - data.joints).diff(n=2, dim=1).square().mean().sqrt() for attacked in (careful, careless)]
    assert bones[0] < 0.3 * bones[1]
    assert bends[0] < 0.6 * bends[1]


def test_the_classifier_runs_in_eval_mode_and_is_left_as_it_was_found(classifier: nn.Module) -> None:
    expected = attack(classifier, *clips(), AttackSettings(steps=5))
    classifier.train()
    norm, convolution = list(classifier.children())[:2]
    norm.eval()  # frozen in a network that trains
    convolution.requires_grad_(False)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    modes = [module.training for module in classifier.modules()]
    trained = [weight.requires_grad for weight in classifier.parameters()]
    try:
        assert torch.equal(attack(classifier, *clips(), AttackSettings(steps=5)), expected)  # without drop-out
        assert [module.training for module in classifier.modules()] == modes
        assert [weight.requires_grad for weight in classifier.parameters()] == trained
        assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
        assert all(weight.grad is None for weight in classifier.parameters())
    finally:
        classifier.eval().requires_grad_(True)


def test_each_clip_is_attacked_as_if_alone_and_left_once_misclassified(classifier: nn.Module) -> None:
    """In double precision: Adam makes a whole step of a gradient that is zero but for rounding."""
    data, network = clips(), copy.deepcopy(classifier).double()
    data = data._replace(joints=data.joints.double())
    together = attack(network, *data, AttackSettings())
    for clip in range(4):
        alone = attack(network, *data.only(torch.tensor([clip])), AttackSettings())
        torch.testing.assert_close(alone[0], together[clip], atol=1e-5, rtol=0)
    wrong = data._replace(labels=(data.labels + 1) % PERSONS)
    assert torch.equal(attack(network, *wrong, AttackSettings(steps=3)), data.joints)


def test_steps_run_out_before_a_stubborn_classifier_errs(classifier: nn.Module) -> None:
    data = clips()
    attacked = attack(classifier, *data, AttackSettings(steps=2, learning_rate=1e-5))
    assert (predicted(classifier, attacked) == data.labels).all()
    moved = (attacked - data.joints).abs().amax((1, 2, 3, 4))
    assert (moved > 1e-6).all()
    assert (moved < 3e-5).all()


def test_the_perceptual_loss_of_changes_that_are_worked_out_by_hand() -> None:
    joints = torch.zeros(1, 4, 1, 25, 3)
    joints[..., 0] = torch.arange(25) * 10.0  # no bone without length
    moved, stretched = joints.clone(), joints.clone()
    moved[:, 2] += torch.tensor([0.0, 0.0, 0.1])  # all joints in one frame: no bone changes
    assert loss(joints, moved, bone_weight=1) == pytest.approx(0, abs=1e-6)
    assert loss(joints, moved, position_weight=1) == pytest.approx(0.01 * (20 * 0.02 + 5 * 0.04))
    assert loss(joints, moved, velocity_weight=1) == pytest.approx(25 * 0.01 * (1 + 1))
    assert loss(joints, moved, acceleration_weight=1) == pytest.approx(25 * 0.01 * (1 + 4))
    stretched[..., 15, 0] += 0.1  # FootLeft, in every frame: away from the ankle, its only bone
    assert loss(joints, stretched, bone_weight=1) == pytest.approx(4 * 0.01, rel=1e-3)
    assert loss(joints, stretched, velocity_weight=1, acceleration_weight=1) == pytest.approx(0, abs=1e-6)


def loss(joints: Tensor, attacked: Tensor, **weights: float) -> float:
    none = dict.fromkeys(("bone_weight", "position_weight", "velocity_weight", "acceleration_weight"), 0.0)
    return perceptual_loss(joints, attacked, AttackSettings.model_validate(none | weights)).item()


def test_a_classifier_that_diverged_is_refused_and_not_counted_as_fooled() -> None:
    class Diverged(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :PERSONS] * float("nan")

    with pytest.raises(TrainingError, match="logits that are not finite"):
        attack(Diverged(), *clips(), AttackSettings(steps=1))
