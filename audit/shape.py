"""How far published skeletons are from raw ones, and how smooth."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES, INDEX, JOINTS

from .published import Published
from .results import Shape
from .view import View

_SAME_M: Final = 1e-3
"""Joints that are so close are the same."""


def shape(
    name: str,
    raw: View,
    released: View,
    of_raw: Published,
    of_release: Published,
    measured: Sequence[bool],
    persons: NDArray[np.int64],
) -> Shape:
    """Of all sequences of a release; raw and released are views of as many frames. persons: of each sequence."""
    shared = persons_sharing(of_release, persons)
    there = (released.faced != 0).any((2, 3)) & (raw.faced != 0).any((2, 3))  # (N, T)
    joints = np.flatnonzero(measured)
    moved = (released.faced - raw.faced)[there][:, joints]
    return Shape(
        release=name,
        rmse_m=float(np.sqrt(np.square(moved).mean())) if len(moved) else float("nan"),
        mpjpe_m=float(np.linalg.norm(moved, axis=2).mean()) if len(moved) else float("nan"),
        bone_spread_m=_bone_spread(released.faced, measured),
        jerk=_jerk(of_release) / max(_jerk(of_raw), 1e-12),
        withheld=_withheld(of_raw, of_release),
        shared_least=int(shared.min(initial=len(persons))),
        shared_median=float(np.median(shared)) if len(shared) else float("nan"),
    )


def persons_sharing(released: Published, persons: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) how many persons, of (N,) whose sequences they are, published a frame like each one."""
    who = np.repeat(persons, np.diff(released.start))
    coarse = np.rint(released.joints.reshape(len(who), 3 * JOINTS) / _SAME_M).astype(np.int32)
    frame = np.unique(np.ascontiguousarray(coarse).view(f"V{4 * coarse.shape[1]}")[:, 0], return_inverse=True)[1]
    pairs = np.unique(np.stack([frame, who], 1), axis=0)
    return np.bincount(pairs[:, 0])[frame]


def _bone_spread(faced: NDArray[np.float32], measured: Sequence[bool]) -> float:
    bones = [bone for bone in BONES if measured[bone]]
    lengths = np.linalg.norm(np.einsum("bj,ntjc->ntbc", difference_matrix()[bones].astype(np.float32), faced), axis=3)
    return float(lengths.std(1).mean())


def _jerk(published: Published) -> float:
    """Mean third difference of joints about SpineMid, from frame to frame."""
    found = [0.0]
    for sequence in range(len(published)):
        joints = published.joints[published.main_body(sequence)]
        changes = np.diff(joints - joints[:, [INDEX["SpineMid"]]], 3, axis=0)
        if len(changes):
            found.append(float(np.linalg.norm(changes, axis=2).mean()))
    return sum(found) / max(1, len(found) - 1)


def _withheld(raw: Published, released: Published) -> float:
    """Share of the bodies recorded for which none is released in the same frame; bodies held after the end are none."""
    recorded = kept = 0
    for sequence in range(len(raw)):
        frames = int(raw.frame_start[sequence + 1] - raw.frame_start[sequence])
        wanted = np.bincount(raw.frame[raw.rows(sequence)], minlength=frames)
        there = np.bincount(released.frame[released.rows(sequence)], minlength=frames)[:frames]
        recorded += int(wanted.sum())
        kept += int(np.minimum(wanted, there).sum())
    return 1 - kept / max(1, recorded)
