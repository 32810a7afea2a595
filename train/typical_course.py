"""The typical course of an action: what its clips have in common, once each is stretched to the others' pace.

A barycenter under dynamic time warping: Petitjean et al., "A global averaging method for dynamic time warping, with
applications to clustering", Pattern Recognition 44 (2011).
"""

from collections.abc import Callable, Sequence
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


def typical_course(clips: Sequence[Tensor], figures: Callable[[Tensor], Tensor]) -> Tensor:
    """Clips (F, 72) of bone directions, of one action and of any lengths, to their typical course (F', 72), float32.

    It is as long as the middle clip, which is nearest to the others. All clips count alike, in each of its frames.
    figures: (F, 72) to (F, D), what frames are compared by.
    """

    def compared(rows: Doubles) -> Doubles:
        return figures(torch.from_numpy(rows).float()).numpy().astype(np.float64)

    rows = [clip.numpy().astype(np.float64) for clip in clips]
    others = [compared(clip) for clip in rows]
    course = rows[_middle(others)]
    for _ in range(_ROUNDS):
        now = compared(course)
        course = _unit(
            np.mean([_stretched(clip, now, other) for clip, other in zip(rows, others, strict=True)], axis=0)
        )
    return torch.from_numpy(course.astype(np.float32))


def _middle(clips: Sequence[Doubles]) -> int:
    """The number of the clip that is nearest to the others."""
    some = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), _MOST)).astype(int))
    apart = [sum(dtw_ndim.distance_fast(clips[one], clips[other]) for other in some) for one in some]
    return int(some[np.argmin(apart)])


def _stretched(clip: Doubles, course: Doubles, compared: Doubles) -> Doubles:
    """For each frame of a course, the mean of the clip's frames that fall on it; both compared by their figures."""
    path = np.array(dtw_ndim.warping_path(course, compared, use_c=True))
    sums = np.zeros((len(course), clip.shape[1]))
    np.add.at(sums, path[:, 0], clip[path[:, 1]])
    mean: Doubles = sums / np.bincount(path[:, 0])[:, None]
    return mean


def _unit(directions: Doubles) -> Doubles:
    bones = directions.reshape(len(directions), -1, 3)
    lengths = np.linalg.norm(bones, axis=2, keepdims=True)
    unit: Doubles = (bones / np.maximum(lengths, 1e-6)).reshape(directions.shape)
    return unit
