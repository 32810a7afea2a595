"""Clips one after the other: what is seen, what is to be drawn, and whose codes are whose."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch

from skelanon.configs.training import AugmentationSettings
from skelanon.train.stream_of_clips import augmented, halves, stream_of, wanted

BEGINS = torch.tensor([[0, 8], [4, 12], [8, 24]])
SECOND = torch.tensor([2, 0, 1])
FRAMES = 44


def clips() -> torch.Tensor:
    """(3, 16, 72): clip n holds 100 n + its frame."""
    numbers = 100.0 * torch.arange(3)[:, None] + torch.arange(16)
    return numbers[..., None].expand(-1, -1, 72).clone()


def rows() -> list[tuple[int, int, int, int]]:
    """Of each stream its number, where its clips begin, and which is the second."""
    return [(row, *BEGINS[row].tolist(), int(SECOND[row])) for row in range(3)]


def held(clip: int, frames: int) -> torch.Tensor:
    """(frames,), a clip as it goes on and is held."""
    return 100.0 * clip + torch.arange(float(frames)).clamp_max(15)


def test_one_clip_goes_over_into_the_other() -> None:
    stream = stream_of(clips(), SECOND, BEGINS, FRAMES, 4)
    assert stream.directions.shape == (3, FRAMES, 72)
    assert torch.equal(stream.begins, BEGINS)
    for row, first, begins, second in rows():
        seen = stream.directions[row, :, 0]
        assert (seen[:first] == 100 * row).all()
        assert torch.equal(seen[first : begins - 4], held(row, begins - 4 - first))
        assert torch.equal(seen[begins:], held(second, FRAMES - begins))
        between = seen[begins - 4 : begins]
        assert ((between - seen[begins - 5]) * (between - seen[begins]) < 0).all()


def test_each_action_is_wanted_from_its_beginning() -> None:
    first_actions, second_actions = torch.tensor([2, 0, 1]), torch.tensor([1, 1, 0])
    asked = wanted(clips(), torch.cat([first_actions, second_actions]), BEGINS + 5, FRAMES)
    assert asked.shape == (3, FRAMES, 72)
    for row, first, begins, _ in rows():
        one, other = int(first_actions[row]), int(second_actions[row])
        assert (asked[row, : first + 5, 0] == 100 * one).all()
        assert torch.equal(asked[row, first + 5 : begins + 5, 0], held(one, begins - first))
        assert torch.equal(asked[row, begins + 5 :, 0], held(other, FRAMES - begins - 5))


def test_codes_belong_to_the_clip_in_which_they_are_named() -> None:
    codes = torch.arange(11).expand(3, -1)[..., None]
    parts = halves(codes, BEGINS // 4, 4)[..., 0]
    assert parts.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [2, 3, 4, 5], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_augmentation_changes_pace_and_never_leaves_the_clip() -> None:
    ramp = torch.arange(24.0)[None, :, None].expand(64, 24, 72).clone()
    frames = torch.full((64,), 10)
    ramp[:, 10:] = 1e6  # what is there no more
    settings = AugmentationSettings(noise=0.0, pace=0.3)
    warped, left, onset = augmented(ramp, frames, 0 * frames + 5, settings, 2)
    assert warped.amax() <= 9
    steps = warped[:, 4, 0] - warped[:, 3, 0]
    assert np.exp(-0.3) <= steps.min() < 0.85
    assert np.exp(0.3) >= steps.max() > 1.15
    assert ((left >= 7) & (left <= 14)).all()
    rests = (warped[:, 0] == warped[:, 1]).all(1)  # some begin a frame later
    assert 10 < rests.sum() < 54
    reached = warped[torch.arange(64), onset, 0]
    assert ((reached > 3.6) & (reached <= 5)).all()  # onset is where frame 5 has come to
    as_it_is = AugmentationSettings(noise=0.0, pace=0.0)
    same, all_of_it, _ = augmented(ramp, frames, frames, as_it_is, 1)
    assert torch.equal(same[:, :10], ramp[:, :10])
    assert torch.equal(all_of_it, frames)


def test_who_has_left_is_held_without_noise() -> None:
    clips, frames = torch.zeros(8, 24, 72), torch.full((8,), 10)
    noisy, left, _ = augmented(clips, frames, 0 * frames, AugmentationSettings(noise=0.1, pace=0.3), 2)
    changes = (noisy[:, 1:] != noisy[:, :-1]).any(2)
    for moves, count in zip(changes, left.tolist(), strict=True):
        assert moves[: count - 1].all()
        assert not moves[count - 1 :].any()
