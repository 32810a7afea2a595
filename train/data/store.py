"""A data set on disk: all joints in one memory-mapped file, and a table with one row for each sequence.

    dataset.json    what it is: kind, licence, names of the labels' values, what was kept and skipped and why
    index.npz       columns, one entry for each sequence: `start`, `frames`, `bodies`, then the labels
    joints.npy      float32 (R, 25, 3), metres, camera axes, zeros where a body is not there
    tracking.npy    uint8 (R, 25), 0 not tracked, 1 inferred, 2 tracked

Sequence i is `joints[start[i] : start[i] + frames[i] * bodies[i]]`, frames first, bodies by first appearance.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.joints import JOINTS
from skelanon.train.errors import DataError

FORMAT: Final = 1
UNKNOWN: Final = -1
"""What a label column of integers holds where the label is not known; a column of floats holds NaN."""
LAYOUT_COLUMNS: Final = ("start", "frames", "bodies")


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How anonymous sequences came about."""

    model: str
    """Name of the bundle."""
    sha256: str
    """Of the bundle."""
    source: str
    """Fingerprint of the data set that was published."""


class DatasetInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a data set is, beside its joints and labels."""

    format: int = FORMAT
    kind: str
    """What was imported: `ntu`, `etri`, ..."""
    licence: str
    """Under which terms the recordings may be used."""
    rate_hz: float
    """Frames per second."""
    measured: tuple[bool, ...]
    """For each of the 25 joints whether it was measured; the others were filled in and are no evidence."""
    names: dict[str, dict[int, str]] = {}
    """For label columns, the names of their values."""
    kept: int
    """Sequences in the set."""
    skipped: dict[str, int] = {}
    """Why sequences were left out, and how many."""
    fingerprint: str
    """sha256 over joints, tracking states and index."""
    published: Publication | None = None
    """What anonymized it; null: as recorded."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SkeletonSequence:
    """One recorded sequence: raw, and therefore not shown.

    joints: (T, M, 25, 3) float32, metres, camera axes, zeros where a body is not there; a read-only view of the file.
    tracking: (T, M, 25) uint8, 0 not tracked, 1 inferred, 2 tracked.
    """

    joints: NDArray[np.float32]
    tracking: NDArray[np.uint8]


class SkeletonDataset:
    """A data set that was imported, opened for reading; joints stay on disk until they are asked for.

    labels: for each label column (`action`, `subject`, `view`, `setup`, `trial`, `gender`: int64, -1 unknown;
    `height_m`, `age`, `weight_kg`: float64, NaN unknown) one entry for each sequence.
    Raises DataError: no data set, of another format, or damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.info = msgspec.json.decode((self.folder / "dataset.json").read_bytes(), type=DatasetInfo)
            with np.load(self.folder / "index.npz", allow_pickle=False) as index:
                columns: dict[str, NDArray[Any]] = {name: index[name] for name in index.files}
            self._joints = np.load(self.folder / "joints.npy", mmap_mode="r", allow_pickle=False)
            self._tracking = np.load(self.folder / "tracking.npy", mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(
                f"{self.folder} is no data set: {Path(error.filename).name} is missing; "
                "make one with `skelanon dataset import`"
            ) from None
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise DataError(f"{self.folder} is no data set, or damaged ({type(error).__name__})") from error
        if self.info.format != FORMAT:
            raise DataError(
                f"{self.folder} has format {self.info.format}, this version reads {FORMAT}: import it again"
            )
        self._start, self.frames, self.bodies = (columns.pop(name) for name in LAYOUT_COLUMNS)
        self.labels: Mapping[str, NDArray[Any]] = columns
        rows = int((self.frames * self.bodies).sum())
        if self._joints.shape != (rows, JOINTS, 3) or self._tracking.shape != (rows, JOINTS):
            raise DataError(f"{self.folder} is damaged: its index names {rows} bodies, its joints are another number")

    def __len__(self) -> int:
        return len(self._start)

    def __getitem__(self, index: int) -> SkeletonSequence:
        frames, bodies = int(self.frames[index]), int(self.bodies[index])
        rows = slice(int(self._start[index]), int(self._start[index]) + frames * bodies)
        return SkeletonSequence(
            self._joints[rows].reshape(frames, bodies, JOINTS, 3),
            self._tracking[rows].reshape(frames, bodies, JOINTS),
        )
