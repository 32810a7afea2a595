"""Training clips of other bodies, held otherwise."""

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor

from skelanon.sensors.joints import BONES, PARENTS
from skelanon.train.augmentation import displaced, resized
from skelanon.train.samples import random_samples

ENDS, STARTS = list(BONES), [PARENTS[joint] for joint in BONES]


@pytest.fixture
def clips() -> Tensor:
    """(200, 6, 2, 25, 3): of the second body nothing is there in the last clip."""
    joints = torch.from_numpy(random_samples(tracks=200, frames=6, bodies_per_sample=1).joints).transpose(0, 1)
    clips = torch.cat([joints, joints.flip(1) + 1], 2)
    clips[-1, :, 1] = 0
    torch.manual_seed(0)
    return clips


def bones(joints: Tensor) -> Tensor:
    return joints[..., ENDS, :] - joints[..., STARTS, :]


def test_another_body_strikes_the_same_poses_in_the_same_place(clips: Tensor) -> None:
    changed = resized(clips, 0.2)
    torch.testing.assert_close(changed[..., 0, :], clips[..., 0, :])
    before, after = bones(clips)[:-1], bones(changed)[:-1]
    torch.testing.assert_close(
        torch.nn.functional.normalize(after, dim=-1), torch.nn.functional.normalize(before, dim=-1), atol=1e-4, rtol=0
    )
    factors = after.norm(dim=-1) / before.norm(dim=-1)  # (N, T, P, 24)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), atol=1e-4, rtol=1e-4)
    assert factors[:, 0].log().std(dim=0).sub(0.2).abs().max() < 0.05  # of each bone, over clips
    assert factors[:, 0].log().mean().abs() < 0.01
    assert not changed[-1, :, 1].any()


def test_a_joint_is_displaced_alike_through_a_clip_or_anew_in_each_frame(clips: Tensor) -> None:
    present = clips.ne(0).flatten(3).any(3).float()
    held = displaced(clips, present, 0.1, through=True) - clips
    torch.testing.assert_close(held, held[:, :1].expand_as(held), atol=1e-6, rtol=0)
    noisy = displaced(clips, present, 0.1, through=False) - clips
    assert noisy[:-1].var(dim=1).mean() > 0.5 * noisy[:-1].square().mean()
    for moved in (held, noisy):
        assert not moved[-1, :, 1].any()
        stds = moved[:-1].flatten(1).std(dim=1)
        assert 0 < stds.min() < 0.02 < 0.08 < stds.max() < 0.12
