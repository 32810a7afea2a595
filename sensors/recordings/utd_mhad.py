"""UTD-MHAD's skeletons of one body from a Kinect v1: MATLAB 5 files with a variable `d_skel`, (20, 3, T) metres.

Its axes are camera axes already: heads are above hips, and persons, who face the sensor, have ShoulderLeft at the
smaller x. Source: C. Chen, R. Jafari, N. Kehtarnavaz, "UTD-MHAD: a multimodal dataset for human action recognition
utilizing a depth camera and a wearable inertial sensor", ICIP 2015.
"""

from typing import Final

import numpy as np

from skelanon.sensors.errors import RecordingError
from skelanon.sensors.frame import INFERRED
from skelanon.sensors.lift import KINECT_V1, lift, measured, states
from skelanon.sensors.recording import MAX_FRAMES, Recording

from .matlab import read_matrix

VARIABLE: Final = "d_skel"
_JOINTS: Final = 20
_LARGEST: Final = 1e6
"""Metres; also keeps out what is not finite."""


def parse(data: bytes) -> Recording:
    """Parse the content of a file; joints that a Kinect v1 lacks are filled in, as inferred. Raises RecordingError."""
    matrix = read_matrix(data, VARIABLE)
    if matrix is None:
        raise RecordingError(f"it holds no variable `{VARIABLE}`: is it a skeleton file of UTD-MHAD?")
    values, shape = matrix.values, matrix.shape
    if values is None or len(shape) != 3 or shape[:2] != (_JOINTS, 3) or not 0 < shape[2] <= MAX_FRAMES:
        raise RecordingError(
            f"`{VARIABLE}` is {shape} {matrix.kind}; it must be ({_JOINTS}, 3, frames) of floats, "
            f"of 1 to {MAX_FRAMES} frames"
        )
    if not (np.abs(values) < _LARGEST).all():
        raise RecordingError(f"`{VARIABLE}` holds values that are not finite, or too large")
    joints = lift(values.transpose(2, 0, 1), KINECT_V1)  # (T, 25, 3)
    tracking = states(joints, measured(KINECT_V1), filled=INFERRED)
    return Recording(joints, tracking, (0,) * len(joints), tuple(range(len(joints) + 1)))
