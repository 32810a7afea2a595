"""The typical course of an action: what its clips have in common, once each is stretched to the others' pace.

A barycenter under dynamic time warping: Petitjean et al., "A global averaging method for dynamic time warping, with
applications to clustering", Pattern Recognition 44 (2011).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from dtaidistance import dtw_ndim
from numpy.typing import NDArray
from torch import Tensor

Doubles = NDArray[np.float64]

_ROUNDS: Final = 5
_MOST: Final = 32
"""Clips among which the middle one is looked for."""


def typical_course(clips: Sequence[Tensor]) -> Tensor:
    """Clips (F, 72) of bone directions, of one action and of any lengths, to their typical course (F', 72), float32.

    It is as long as the middle clip, which is nearest to the others. All clips count alike, in each of its frames.
    """
    rows = [clip.numpy().astype(np.float64) for clip in clips]
    course = rows[_middle(rows)]
    for _ in range(_ROUNDS):
        course = _unit(np.mean([_stretched(clip, course) for clip in rows], axis=0))
    return torch.from_numpy(course.astype(np.float32))


def _middle(clips: Sequence[Doubles]) -> int:
    """The number of the clip that is nearest to the others."""
    some = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), _MOST)).astype(int))
    apart = [sum(dtw_ndim.distance_fast(clips[one], clips[other]) for other in some) for one in some]
    return int(some[np.argmin(apart)])


def _stretched(clip: Doubles, course: Doubles) -> Doubles:
    """For each frame of a course, the mean of the clip's frames that fall on it."""
    path = np.array(dtw_ndim.warping_path(course, clip, use_c=True))
    sums = np.zeros_like(course)
    np.add.at(sums, path[:, 0], clip[path[:, 1]])
    mean: Doubles = sums / np.bincount(path[:, 0])[:, None]
    return mean


def _unit(directions: Doubles) -> Doubles:
    bones = directions.reshape(len(directions), -1, 3)
    lengths = np.linalg.norm(bones, axis=2, keepdims=True)
    unit: Doubles = (bones / np.maximum(lengths, 1e-6)).reshape(directions.shape)
    return unit
