"""The 32 joints of Azure Kinect Body Tracking (and of Orbbec's Femto through its K4A wrapper) as the 25 of Kinect v2.

Azure: millimetres, depth-camera axes (x right, y down, z away from the sensor). Sources: "Azure Kinect body tracking
joints" and `k4abt_joint_id_t`, `k4abt_joint_confidence_level_t` in `k4abttypes.h` of the Body Tracking SDK 1.1.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .frame import INFERRED, NOT_TRACKED, TRACKED, Joints, Tracking

AZURE_JOINT_NAMES: Final = (
    "PELVIS", "SPINE_NAVEL", "SPINE_CHEST", "NECK",
    "CLAVICLE_LEFT", "SHOULDER_LEFT", "ELBOW_LEFT", "WRIST_LEFT", "HAND_LEFT", "HANDTIP_LEFT", "THUMB_LEFT",
    "CLAVICLE_RIGHT", "SHOULDER_RIGHT", "ELBOW_RIGHT", "WRIST_RIGHT", "HAND_RIGHT", "HANDTIP_RIGHT", "THUMB_RIGHT",
    "HIP_LEFT", "KNEE_LEFT", "ANKLE_LEFT", "FOOT_LEFT",
    "HIP_RIGHT", "KNEE_RIGHT", "ANKLE_RIGHT", "FOOT_RIGHT",
    "HEAD", "NOSE", "EYE_LEFT", "EAR_LEFT", "EYE_RIGHT", "EAR_RIGHT",
)  # fmt: skip

AZURE_JOINTS: Final = len(AZURE_JOINT_NAMES)

KINECT_FROM_AZURE: Final[NDArray[np.intp]] = np.array(
    [0, 1, 3, 26, 5, 6, 7, 8, 12, 13, 14, 15, 18, 19, 20, 21, 22, 23, 24, 25, 2, 9, 10, 16, 17]
)
"""(25,): the Azure joint that stands for each joint of Kinect v2. SpineMid (SPINE_NAVEL) and SpineShoulder
(SPINE_CHEST) are approximations: Azure's lie lower on the spine. Clavicles, nose, eyes and ears have no counterpart."""
KINECT_FROM_AZURE.flags.writeable = False

_TO_CAMERA_AXES: Final = np.array([-1.0, -1.0, 1.0], np.float32)  # turning y alone would mirror the person
_TRACKING: Final = np.array([NOT_TRACKED, INFERRED, TRACKED, TRACKED], np.uint8)  # of NONE, LOW, MEDIUM, HIGH


def to_kinect25(positions_mm: ArrayLike) -> Joints:
    """(..., 25, 3) float32, metres, camera axes, from (..., 32, 3) millimetres in depth-camera axes."""
    positions = np.asarray(positions_mm, np.float32)
    if positions.ndim < 2 or positions.shape[-2:] != (AZURE_JOINTS, 3):
        raise ValueError(f"positions must be (..., {AZURE_JOINTS}, 3), not {positions.shape}")
    joints: Joints = np.take(positions, KINECT_FROM_AZURE, axis=-2) * _TO_CAMERA_AXES / np.float32(1000)
    return joints


def tracking_of(confidence: NDArray[np.integer]) -> Tracking:
    """(..., 25) uint8, 0 not tracked, 1 inferred, 2 tracked, from (..., 32) confidence levels 0 NONE to 3 HIGH.

    A level outside 0 to 3 is taken for NONE.
    """
    if confidence.ndim < 1 or confidence.shape[-1] != AZURE_JOINTS:
        raise ValueError(f"confidence must be (..., {AZURE_JOINTS}), not {confidence.shape}")
    levels = np.take(confidence, KINECT_FROM_AZURE, axis=-1)
    known: Tracking = _TRACKING[np.where((levels >= 0) & (levels <= 3), levels, 0)]
    return known
