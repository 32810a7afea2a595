"""How far published skeletons are from raw ones, and how smooth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES

from .published import Published
from .results import Shape
from .view import View


def shape(
    name: str, raw: View, released: View, of_raw: Published, of_release: Published, measured: Sequence[bool]
) -> Shape:
    """Of all sequences of a release; raw and released are views of as many frames."""
    there = (released.faced != 0).any((2, 3)) & (raw.faced != 0).any((2, 3))  # (N, T)
    joints = np.flatnonzero(measured)
    moved = (released.faced - raw.faced)[there][:, joints]
    return Shape(
        release=name,
        rmse_m=float(np.sqrt(np.square(moved).mean())) if len(moved) else float("nan"),
        mpjpe_m=float(np.linalg.norm(moved, axis=2).mean()) if len(moved) else float("nan"),
        bone_spread_m=_bone_spread(released.faced, measured),
        jerk=_jerk(released.faced) / max(_jerk(raw.faced), 1e-12),
        withheld=1 - len(of_release.joints) / max(1, len(of_raw.joints)),
    )


def _bone_spread(faced: NDArray[np.float32], measured: Sequence[bool]) -> float:
    bones = [bone for bone in BONES if measured[bone]]
    lengths = np.linalg.norm(np.einsum("bj,ntjc->ntbc", difference_matrix()[bones].astype(np.float32), faced), axis=3)
    return float(lengths.std(1).mean())


def _jerk(faced: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(np.diff(faced, 3, axis=1), axis=3).mean())
