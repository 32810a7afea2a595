"""What a subscriber has after a whole data set has been published: the material that every attack works on.

One file, `published.npz`; the first two arrays suffice for skeletons that something else released:

    joints       float32 (R, 25, 3)   metres, one row for each published body, in the order of the wire
    start        int64 (N + 1)        sequence i has the rows start[i] to start[i + 1]
    frame        int64 (R)            number of a row's frame within its sequence
    id           uint32 (R)           public id
    tracking     uint8 (R, 25)        0 not tracked, 1 inferred, 2 tracked
    frame_start  int64 (N + 1)        sequence i has the frames frame_start[i] to frame_start[i + 1]
    captured_ns  int64 (F)            time of capture of each frame, also of those without bodies
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import TRACKED
from skelanon.sensors.joints import JOINTS

from .errors import AuditError

Joints = NDArray[np.float32]
Integers = NDArray[np.int64]

_PERIOD_NS: Final = 33_333_333
"""Of frames whose times of capture a file does not hold."""


@dataclass(frozen=True, repr=False, eq=False)
class Published:
    """N sequences as they were published; see the head of this file for the arrays. Raises AuditError if they differ.

    Released skeletons may still tell who a person is; they are not shown.
    """

    joints: Joints
    start: Integers
    frame: Integers
    id: NDArray[np.uint32]
    tracking: NDArray[np.uint8]
    frame_start: Integers
    captured_ns: Integers

    def __post_init__(self) -> None:
        rows, frames = len(self.joints), len(self.captured_ns)
        right = (
            self.joints.shape == (rows, JOINTS, 3)
            and np.isfinite(self.joints).all()
            and self.frame.shape == self.id.shape == (rows,)
            and self.tracking.shape == (rows, JOINTS)
            and self.start.shape == self.frame_start.shape
            and _divides(self.start, rows)
            and _divides(self.frame_start, frames)
        )
        if not right:
            raise AuditError("these are no released skeletons: shapes differ, or a coordinate is not finite")

    def __len__(self) -> int:
        return len(self.start) - 1

    def rows(self, sequence: int) -> slice:
        """The rows of a sequence."""
        return slice(int(self.start[sequence]), int(self.start[sequence + 1]))

    def main_body(self, sequence: int) -> Integers:
        """Row numbers of the body that is there longest, in order of time; of equals the one nearest the origin.

        Empty where nobody was published.
        """
        rows = np.arange(*self.rows(sequence).indices(len(self.joints)))
        bodies = [rows[self.id[rows] == body] for body in np.unique(self.id[rows])]
        return max(bodies, key=self._rank, default=rows)

    def times(self, sequence: int) -> Integers:
        """Times of capture of all frames of a sequence, nanoseconds."""
        return self.captured_ns[int(self.frame_start[sequence]) : int(self.frame_start[sequence + 1])]

    def _rank(self, rows: Integers) -> tuple[int, float]:
        return len(rows), -float(np.linalg.norm(self.joints[rows, 0], axis=1).mean())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file. Raises OSError."""
        np.savez(path, **{name: getattr(self, name) for name in _TYPES})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file; arrays that it does not hold say nothing. Raises AuditError."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in stored.files if name in _TYPES}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise AuditError(f"{path} cannot be read as released skeletons ({type(error).__name__})") from None
        for name in ("joints", "start"):
            if name not in arrays:
                raise AuditError(
                    f"{path} has no array `{name}`: released skeletons are `joints` (R, 25, 3) and `start`"
                )
        start, rows = arrays["start"], len(arrays["joints"])
        if not _divides(start, rows):
            raise AuditError(f"{path}: `start` does not divide the {rows} rows of `joints` into sequences")
        silent = {
            "frame": np.arange(rows) - np.repeat(start[:-1], np.diff(start)),
            "id": np.zeros(rows),
            "tracking": np.full((rows, JOINTS), TRACKED),
            "frame_start": start,
        }
        arrays = silent | arrays
        frames = np.diff(arrays["frame_start"])
        arrays.setdefault("captured_ns", _PERIOD_NS * np.concatenate([np.arange(count) for count in frames]))
        return cls(**{name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in _TYPES.items()})


_TYPES: Final[dict[str, Any]] = {
    "joints": np.float32, "start": np.int64, "frame": np.int64, "id": np.uint32, "tracking": np.uint8,
    "frame_start": np.int64, "captured_ns": np.int64,
}  # fmt: skip


def _divides(start: NDArray[Any], rows: int) -> bool:
    return (
        start.ndim == 1 and len(start) > 1 and start[0] == 0 and start[-1] == rows and bool((np.diff(start) >= 0).all())
    )
