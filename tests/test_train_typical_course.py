"""The typical course of an action."""

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor

from skelanon.train.typical_course import typical_course

TOWARD, UP = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.0])


def raising(frames: int, offset: float = 0.0, ease: float = 1.0) -> Tensor:
    """(frames, 72): 24 bones that turn from down to up, to the side by `offset` radians; pace follows a power."""
    angle = torch.pi * torch.linspace(0, 1, frames) ** ease
    side, forward = torch.tensor(offset), angle.sin()
    bone = torch.stack([forward * side.sin(), -angle.cos(), forward * side.cos()], 1)
    return bone.repeat(1, 24)


def as_they_are(directions: Tensor) -> Tensor:
    return directions


def test_whoever_is_slower_or_faster_does_the_same() -> None:
    course = typical_course([raising(20), raising(30, ease=2.0), raising(40, ease=0.5)], as_they_are)
    assert len(course) in (20, 30, 40)
    assert course.dtype == torch.float32
    angle = torch.acos(-course[:, 1])
    assert (angle.diff() >= -1e-3).all()
    assert angle[0] < 0.1
    assert angle[-1] > 3.0
    assert course[:, 0].abs().max() < 1e-6  # it stays in the plane in which all move


def test_what_is_peculiar_to_one_is_shared_out() -> None:
    """Of three persons one moves .6 rad to the left, one to the right: together they move straight ahead."""
    persons = [raising(24, offset) for offset in (-0.6, 0.0, 0.6)]
    course = typical_course([*persons, raising(30)], as_they_are)
    assert course[:, 0].abs().max() < 0.02
    lengths = course.reshape(-1, 24, 3).norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert typical_course(persons[:1], as_they_are).sub(persons[0]).abs().max() < 1e-6


def test_the_middle_clip_decides_how_long_it_lasts() -> None:
    """Nearest to the others is one of those that do the same, not the one that does otherwise."""
    lengths = [20, 21, 22]
    still = raising(24)[:1].expand(24, -1)
    assert len(typical_course([still, *map(raising, lengths)], as_they_are)) in lengths


def test_clips_are_stretched_by_what_they_are_compared_by() -> None:
    """One raises the first bone early and the others late, the other one does the opposite: only one can be in time."""
    early, late = raising(32, ease=0.4), raising(32, ease=2.5)
    clips = [torch.cat([early[:, :3], late[:, 3:]], 1), torch.cat([late[:, :3], early[:, 3:]], 1)]
    for part, rest in ((slice(0, 3), slice(3, 72)), (slice(3, 72), slice(0, 3))):
        course = typical_course(clips, lambda directions, part=part: directions[:, part])  # type: ignore[misc]
        apart = (course - clips[0]).abs().mean(0)
        assert apart[part].mean() < 0.05
        assert apart[rest].mean() > 0.2
