"""A raw frame of bodies, as a sensor delivers it. It leaves a process by `skelanon capture` alone (docs/remote.md)."""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from .joints import JOINTS

Joints = NDArray[np.float32]
Tracking = NDArray[np.uint8]

MAX_BODIES = 64
"""In one frame; no depth sensor follows more than a handful."""

NOT_TRACKED, INFERRED, TRACKED = 0, 1, 2


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class BodyFrame:
    """All bodies that one sensor saw at one instant: raw, and therefore kept inside the process.

    joints: (M, 25, 3) float32, metres, camera axes (x to the sensor's left, y up, z away from it).
    tracking: (M, 25) uint8, 0 not tracked, 1 inferred, 2 tracked.
    track_ids: M integers by which the sensor follows a body from frame to frame.
    captured_ns: time of capture, nanoseconds since the Unix epoch, on the host's clock.
    discontinuity: the frame does not continue the one before it (next recording, loop, jump of the clock).

    Raises ValueError on another shape or type. It cannot be pickled and does not show its values.
    """

    captured_ns: int
    joints: Joints
    tracking: Tracking
    track_ids: tuple[int, ...]
    discontinuity: bool = False

    def __post_init__(self) -> None:
        bodies = len(self.track_ids)
        if bodies > MAX_BODIES:
            raise ValueError(f"{bodies} bodies; a frame has at most {MAX_BODIES}")
        if type(self.captured_ns) is not int or not 0 <= self.captured_ns < 1 << 63:
            raise ValueError("captured_ns must be an int, nanoseconds since 1970, below 2**63")
        if self.joints.shape != (bodies, JOINTS, 3) or self.joints.dtype != np.float32:
            raise ValueError(f"joints must be ({bodies}, {JOINTS}, 3) float32, one body per track id")
        if self.tracking.shape != (bodies, JOINTS) or self.tracking.dtype != np.uint8:
            raise ValueError(f"tracking must be ({bodies}, {JOINTS}) uint8, one body per track id")
        if len(set(self.track_ids)) != bodies:
            raise ValueError("track ids must differ within a frame")

    def __repr__(self) -> str:
        return f"BodyFrame(bodies={len(self.track_ids)}, captured_ns={self.captured_ns})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a raw BodyFrame cannot be pickled: it must not leave the process")


def no_bodies(captured_ns: int, *, discontinuity: bool = False) -> BodyFrame:
    """A frame of an empty room."""
    return BodyFrame(
        captured_ns,
        np.empty((0, JOINTS, 3), np.float32),
        np.empty((0, JOINTS), np.uint8),
        (),
        discontinuity,
    )
