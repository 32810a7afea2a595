"""Other layouts of joints as the 25 of Kinect v2: what a layout lacks is filled in, and is no evidence.

Neck lies midway between SpineShoulder and Head, hand tips and thumbs lie at the hand, any other missing joint at its
parent. An Azure Kinect's 32 joints are a matter of `azure_joints.py`, not of this file.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .errors import RecordingError
from .frame import NOT_TRACKED, TRACKED
from .joints import INDEX, JOINTS, PARENTS, ROOT

ABSENT: Final = -1

KINECT_V1: Final = (3, 2, -1, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 1, -1, -1, -1, -1)
"""For each of the 25 joints its place among the 20 of Kinect v1, in UTD-MHAD's order: head, shoulder centre, ..."""

_NECK, _HEAD, _CHEST = INDEX["Neck"], INDEX["Head"], INDEX["SpineShoulder"]
_FILLED_FROM: Final = {
    **dict(enumerate(PARENTS)),
    **{INDEX[f"{part}{side}"]: INDEX[f"Hand{side}"] for part in ("HandTip", "Thumb") for side in ("Left", "Right")},
}
_INWARD_FIRST: Final = (INDEX["SpineMid"], _CHEST, *(joint for joint in range(JOINTS) if joint not in (0, 1, _CHEST)))


def measured(source: Sequence[int]) -> tuple[bool, ...]:
    """For each of the 25 joints whether the layout has it; `source` as in `lift`."""
    return tuple(index != ABSENT for index in source)


def lift(joints: NDArray[np.floating], source: Sequence[int]) -> NDArray[np.float32]:
    """The 25 joints of bodies whose J joints are others.

    joints: (..., J, 3), metres, any axes; a joint at the exact origin is missing, and so is what is filled in from it.
    source: for each of the 25 joints its index in 0 .. J - 1, or -1 where the layout lacks it.
    Returns (..., 25, 3) float32. Raises RecordingError: `source` is no such table, or lacks SpineBase.
    """
    _check(source, joints.shape[-2])
    there = measured(source)
    lifted = np.zeros((*joints.shape[:-2], JOINTS, 3), np.float32)
    lifted[..., there, :] = joints[..., [index for index in source if index != ABSENT], :]
    for joint in _INWARD_FIRST:
        if not there[joint]:
            lifted[..., joint, :] = lifted[..., _FILLED_FROM[joint], :]
    if not there[_NECK] and there[_HEAD]:
        chest, head = lifted[..., _CHEST, :], lifted[..., _HEAD, :]
        both = chest.any(-1, keepdims=True) & head.any(-1, keepdims=True)
        lifted[..., _NECK, :] = np.where(both, (chest + head) / 2, 0)
    return lifted


def states(joints: NDArray[np.float32], there: Sequence[bool], *, filled: int = NOT_TRACKED) -> NDArray[np.uint8]:
    """Tracking states (..., 25) of lifted joints (..., 25, 3) whose recording has none.

    A joint of the layout (`there`: see `measured`) is tracked, one that was filled in is `filled`, a missing one is not
    tracked.
    """
    of_layout = np.where(there, TRACKED, filled)  # (25,)
    return np.where(joints.any(-1), of_layout, NOT_TRACKED).astype(np.uint8)


def _check(source: Sequence[int], joints: int) -> None:
    if len(source) != JOINTS or not all(ABSENT <= index < joints for index in source):
        raise RecordingError(
            f"a layout is {JOINTS} indices from -1 to {joints - 1}, one for each joint, not {list(source)}"
        )
    if source[ROOT] == ABSENT:
        raise RecordingError("the layout lacks SpineBase: such bodies have no root, and cannot be used")
