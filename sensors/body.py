"""The proportions of an average body, and forward kinematics as one matrix product.

Segment lengths as fractions of stature follow Drillis and Contini (1966), as printed in Winter, "Biomechanics and
Motor Control of Human Movement", fig. 4.1; where a Kinect joint has no anatomical counterpart (spine, hand, hip
centres lie further in than the bones' ends), the fraction is a round number within what Kinect v2 reports. No value
was taken from the recording of a person.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .joints import BONES, INDEX, JOINT_NAMES, JOINTS, PARENTS

Doubles = NDArray[np.float64]

REFERENCE_STATURE_M: Final = 1.70

_CENTRAL = {"SpineMid": 0.165, "SpineShoulder": 0.125, "Neck": 0.045, "Head": 0.090}
_PAIRED = {
    "Shoulder": 0.105, "Elbow": 0.172, "Wrist": 0.146, "Hand": 0.045, "HandTip": 0.045, "Thumb": 0.060,
    "Hip": 0.050, "Knee": 0.245, "Ankle": 0.246, "Foot": 0.075,
}  # fmt: skip

_UP, _DOWN = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
_REST_LEFT = {
    "Shoulder": (-0.95, -0.3, 0.0), "Elbow": (-0.2, -1.0, 0.0), "Wrist": (-0.1, -1.0, -0.1), "Hand": _DOWN,
    "HandTip": _DOWN, "Thumb": (0.3, -0.8, -0.5), "Hip": (-0.95, -0.3, 0.0), "Knee": (-0.05, -1.0, 0.0),
    "Ankle": _DOWN, "Foot": (-0.1, -0.5, -0.85),
}  # fmt: skip


def bone_lengths(stature_m: float = REFERENCE_STATURE_M) -> Doubles:
    """(25,) float64, metres: length of the bone that ends at each joint of an average body; 0 at the root."""
    fractions = _CENTRAL | {f"{name}{side}": f for name, f in _PAIRED.items() for side in ("Left", "Right")}
    return np.array([stature_m * fractions.get(name, 0.0) for name in JOINT_NAMES])


def rest_directions() -> Doubles:
    """(25, 3) float64, unit vectors, camera axes: each bone of a body that stands facing the sensor; 0 at the root."""
    directions = np.zeros((JOINTS, 3))
    for name in _CENTRAL:
        directions[INDEX[name]] = _UP
    for name, left in _REST_LEFT.items():
        directions[INDEX[f"{name}Left"]] = left
        directions[INDEX[f"{name}Right"]] = (-left[0], left[1], left[2])
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    return directions / np.where(norms > 0, norms, 1.0)


def ancestor_matrix() -> Doubles:
    """(25, 25) float64 of 0 and 1: row j marks the bones on the way from the root to joint j.

    Forward kinematics: `ancestor_matrix() @ bones` gives joints relative to the root from bones (25, 3).
    """
    ancestors = np.zeros((JOINTS, JOINTS))
    for bone in BONES:
        joint = bone
        while PARENTS[joint] >= 0:
            ancestors[bone, joint] = 1.0
            joint = PARENTS[joint]
    return ancestors


def difference_matrix() -> Doubles:
    """(25, 25) float64: `difference_matrix() @ joints` gives bones (25, 3) from joints; 0 at the root."""
    differences = np.zeros((JOINTS, JOINTS))
    for bone in BONES:
        differences[bone, bone] = 1.0
        differences[bone, PARENTS[bone]] = -1.0
    return differences
