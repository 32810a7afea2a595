"""The choice of two bodies by their motion over a whole clip: offline only, for it needs the end of the clip.

Ghost bodies (chairs, reflections) hardly move, so the two bodies that move most are the persons. The stream, which
cannot wait, takes bodies by order of appearance instead.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .frame import Joints
from .joints import JOINTS
from .recording import Recording

CANDIDATES: Final = 4
"""Bodies of a frame, in the order of the file, among which public NTU preprocessing chooses."""


def two_bodies_by_motion_energy(recording: Recording) -> Joints:
    """(2, T, 25, 3) float32, metres, camera axes: the two bodies of largest motion energy, the largest first.

    A body is a place in the file's order of bodies within a frame, whatever its id; zeros where nobody has it.
    The definition is that of the public preprocessing scripts for NTU RGB+D (2s-AGCN, `data_gen/ntu_gendata.py`).
    """
    start = np.array(recording.frame_start)
    bodies = np.diff(start)  # (T,)
    frame = np.repeat(np.arange(len(recording)), bodies)  # (B,)
    place = np.arange(len(frame)) - start[frame]  # (B,)
    candidate = place < CANDIDATES
    joints = np.zeros((CANDIDATES, len(recording), JOINTS, 3), np.float32)
    joints[place[candidate], frame[candidate]] = recording.joints[candidate]
    energy = [motion_energy(body) for body in joints]
    # Ascending and then reversed, as in public code: of equals, the later comes first.
    return joints[np.argsort(energy, kind="stable")[::-1][:2]]


def motion_energy(body: NDArray[np.floating]) -> float:
    """Standard deviation over all frames and joints, summed over x, y and z, of a body (T, 25, 3), in metres.

    Frames of zeros (nobody there) and frames with a value that is not finite are left out.
    """
    there = np.isfinite(body).all(axis=(1, 2)) & body.any(axis=(1, 2))  # (T,)
    return float(body[there].std(axis=(0, 1), dtype=np.float64).sum()) if there.any() else 0.0
