"""A recorded clip, whatever kind of file it came from. Raw, and therefore kept inside the process."""

import os
from dataclasses import dataclass
from typing import Final, NoReturn

from .errors import RecordingError, SensorError
from .frame import BodyFrame, Joints, Tracking

MAX_BYTES: Final = 64 << 20
"""Largest recording that is read: as `.skeleton`, about 14 minutes of one body at 30 Hz."""
MAX_FRAMES: Final = 200_000
"""Almost two hours; clips of data sets have a few hundred frames."""
LONGEST_STEP_NS: Final = 3600 * 1_000_000_000
"""Between two frames; a clock that goes further, or back, was set."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Recording:
    """F frames with B bodies in all.

    joints: (B, 25, 3) float32, metres, camera axes, read-only; not finite where the recording says so.
    tracking: (B, 25) uint8, 0 not tracked, 1 inferred, 2 tracked, read-only.
    track_ids: B integers by which the recording follows a body.
    frame_start: F + 1 integers; the bodies of frame i are those from `frame_start[i]` up to `frame_start[i + 1]`.
    times_ns: F times in nanoseconds, on a clock of the recording's own; None where the format has none.
    left_out: records that could not be read, and the place and fault of the first of them.

    It cannot be pickled and does not show its values.
    """

    joints: Joints
    tracking: Tracking
    track_ids: tuple[int, ...]
    frame_start: tuple[int, ...]
    times_ns: tuple[int, ...] | None = None
    left_out: int = 0
    first_left_out: str = ""

    def __post_init__(self) -> None:
        self.joints.flags.writeable = self.tracking.flags.writeable = False

    def __len__(self) -> int:
        """F, the number of frames."""
        return len(self.frame_start) - 1

    def frame(self, index: int, captured_ns: int, *, discontinuity: bool = False) -> BodyFrame:
        """Frame `index` (from 0 on) as a sensor would deliver it; its arrays are views of the recording's."""
        start, end = self.frame_start[index], self.frame_start[index + 1]
        return BodyFrame(
            captured_ns,
            self.joints[start:end],
            self.tracking[start:end],
            self.track_ids[start:end],
            discontinuity,
        )

    def continues(self, index: int) -> bool:
        """Whether frame `index` follows the one before it: it is not the first, and the clock was not set."""
        return index > 0 and (self.times_ns is None or self.step_ns(index) is not None)

    def step_ns(self, index: int) -> int | None:
        """Nanoseconds from the frame before to frame `index`, where the recording's clock tells."""
        if self.times_ns is None or index == 0:
            return None
        step = self.times_ns[index] - self.times_ns[index - 1]
        return step if 0 < step <= LONGEST_STEP_NS else None

    def __repr__(self) -> str:
        return f"Recording(frames={len(self)}, bodies={len(self.track_ids)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a raw Recording cannot be pickled: it must not leave the process")


def read_file(path: str | os.PathLike[str], largest: int = MAX_BYTES) -> bytes:
    """The content of a recording's file. Raises SensorError: it cannot be read; RecordingError: it is too large."""
    try:
        with open(path, "rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        reason = error.strerror
    else:
        if len(data) > largest:
            raise RecordingError(f"the recording is larger than {largest} bytes: split it")
        return data
    # Raised out here, so that the OSError, which holds the file name, does not hang on to it.
    raise SensorError(f"the recording cannot be read: {reason}")
