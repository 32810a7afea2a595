"""Clips one after the other: what is seen, what is to be drawn, and whose codes are whose."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch

from skelanon.configs.training import AugmentationSettings
from skelanon.train.stream_of_clips import augmented, halves, stream_of, wanted

FIRST_OF = torch.tensor([8, 12, 16])
SECOND = torch.tensor([2, 0, 1])


def clips() -> torch.Tensor:
    """(3, 16, 72): clip n holds 100 n + its frame."""
    numbers = 100.0 * torch.arange(3)[:, None] + torch.arange(16)
    return numbers[..., None].expand(-1, -1, 72).clone()


def test_one_clip_goes_over_into_the_other() -> None:
    stream = stream_of(clips(), FIRST_OF, SECOND, 4)
    assert stream.directions.shape == (3, 32, 72)
    assert torch.equal(stream.second_at, FIRST_OF)
    for row, (begins, second) in enumerate(zip(FIRST_OF.tolist(), SECOND.tolist(), strict=True)):
        seen = stream.directions[row, :, 0]
        assert torch.equal(seen[: begins - 4], clips()[row, : begins - 4, 0])
        assert torch.equal(seen[begins : begins + 16], clips()[second, : 32 - begins, 0])
        assert (seen[begins + 16 :] == 100 * second + 15).all()  # held
        before, after = seen[begins - 5], seen[begins]
        between = seen[begins - 4 : begins]
        assert ((between - before) * (between - after) < 0).all()


def test_each_action_is_wanted_late_from_its_beginning() -> None:
    courses = torch.cat([clips(), 1000 + clips()[SECOND]])
    stream = stream_of(clips(), FIRST_OF, SECOND, 4)
    asked = wanted(courses, stream, 5)[..., 0]
    for row, (begins, second) in enumerate(zip(FIRST_OF.tolist(), SECOND.tolist(), strict=True)):
        assert (asked[row, :5] == 100 * row).all()
        assert torch.equal(asked[row, 5 : begins + 5], 100.0 * row + torch.arange(begins))
        later = asked[row, begins + 5 :]
        assert torch.equal(later, 1000 + 100.0 * second + torch.arange(float(len(later))).clamp_max(15))


def test_codes_belong_to_the_clip_in_which_they_are_named() -> None:
    codes = torch.arange(8).expand(3, -1)[..., None]
    parts = halves(codes, torch.tensor([2, 3, 4]), 4)[..., 0]
    assert parts.tolist() == [[0, 1, 2, 3]] * 3 + [[2, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6, 7]]


def test_augmentation_changes_pace_and_never_leaves_the_clip() -> None:
    ramp = torch.arange(24.0)[None, :, None].expand(64, 24, 72).clone()
    frames = torch.full((64,), 10)
    ramp[:, 10:] = 1e6  # what is there no more
    warped, left = augmented(ramp, frames, AugmentationSettings(noise=0.0, pace=0.3), 2)
    assert warped.amax() <= 9
    steps = warped[torch.arange(64), 1, 0] - warped[torch.arange(64), 0, 0]
    assert np.exp(-0.3) <= steps.min() < 0.85
    assert np.exp(0.3) >= steps.max() > 1.15
    assert ((left >= 4) & (left <= 13)).all()
    same, all_of_it = augmented(ramp, frames, AugmentationSettings(noise=0.0, pace=0.0), 1)
    assert torch.equal(same[:, :10], ramp[:, :10])
    assert torch.equal(all_of_it, frames)
