"""What attackers and recognizers see of a published sequence."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit.published import Published
from skelanon.audit.view import moving_part, view
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.joints import INDEX


def raising(before: int, moves: int, after: int, height: float = 0.8) -> np.ndarray:
    """A body at rest that raises a hand, which stays where it is then."""
    at_rest = ancestor_matrix() @ (bone_lengths()[:, None] * rest_directions()) + [0, 0, 3]
    joints = np.tile(at_rest, (before + moves + after, 1, 1)).astype(np.float32)
    joints[:, INDEX["HandLeft"], 1] += height * np.clip((np.arange(len(joints)) - before) / moves, 0, 1)
    return joints


def test_the_moving_part_lies_between_rest_and_rest() -> None:
    part = moving_part(raising(64, 40, 56))
    assert 64 <= part.start <= 64 + 5  # .1 m of .8 m in 40 frames: five of them
    assert 104 - 5 <= part.stop <= 104 + 1


def test_who_moves_all_along_is_seen_all_along() -> None:
    assert moving_part(raising(0, 50, 0)) == slice(6, 44)  # 16 mm in a frame: .112 m from the first is frame 7
    noise = np.random.default_rng(0).normal(0, 0.1, (60, 25, 3)).astype(np.float32)
    assert moving_part(noise) == slice(0, 60)


def test_who_never_moves_is_seen_whole() -> None:
    assert moving_part(raising(10, 40, 10, height=0.05)) == slice(0, 60)
    assert moving_part(raising(1, 1, 0)[:1]) == slice(0, 1)


def test_recognizers_see_more_of_what_moves() -> None:
    """Attackers see the rest before and after, too: it may tell who somebody is."""
    joints = raising(64, 40, 56)
    rows = np.arange(len(joints))
    start, tracking = np.array([0, len(rows)]), np.full((len(rows), 25), 2, np.uint8)
    published = Published(joints, start, rows, np.zeros(len(rows), np.uint32), tracking, start, rows)
    heights = [view(published, 16, moving).faced[0, :, INDEX["HandLeft"], 2] for moving in (False, True)]
    between = [((height > height.min() + 0.01) & (height < height.max() - 0.01)).sum() for height in heights]
    assert between[0] <= 5
    assert between[1] >= 12
