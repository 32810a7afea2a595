"""What every importer gives: its items of work, and the sequences that each item holds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import MAX_BODIES
from skelanon.sensors.joints import JOINTS
from skelanon.sensors.recording import Recording

LabelType = Literal["int", "float"]


class Skipped(Exception):  # noqa: N818 - not an error: the summary counts it
    """An item, or one of its sequences, is left out; the message is the reason, the same words for the same cause."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ImportedSequence:
    """One sequence as it is stored: raw, and therefore not shown.

    joints: (T, M, 25, 3) float32, metres, camera axes, zeros where a body is not there, bodies by first appearance.
    tracking: (T, M, 25) uint8, 0 not tracked, 1 inferred, 2 tracked.
    labels: a value for each of the importer's columns; -1 (NaN for floats) where unknown.
    """

    joints: NDArray[np.float32]
    tracking: NDArray[np.uint8]
    labels: dict[str, float]


@dataclass(frozen=True, slots=True)
class Contents:
    """What one item held: its sequences, and why others of it were left out."""

    sequences: Sequence[ImportedSequence]
    skipped: dict[str, int] = field(default_factory=dict)


class Importer(ABC):
    """Reads one kind of distribution. Made once with the folder, then sent to worker processes: it must pickle."""

    kind: ClassVar[str]
    licence: ClassVar[str]
    rate_hz: ClassVar[float]
    columns: ClassVar[dict[str, LabelType]]
    names: Mapping[str, Mapping[int, str]] = {}
    measured: tuple[bool, ...] = (True,) * JOINTS

    def __init__(self, folder: Path) -> None:
        """Check that the folder is such a distribution, and read what labels all of it. Raises DataError."""
        self.folder = folder

    @abstractmethod
    def items(self) -> list[str]:
        """Names of the items of work (files below `folder`, or keys), always in the same order. Raises DataError."""

    @abstractmethod
    def read(self, item: str) -> Contents:
        """The sequences of an item, in whichever process. Raises Skipped, or DataError where the item is malformed."""


def sequence_of(recording: Recording, labels: dict[str, float], most: int = MAX_BODIES) -> ImportedSequence:
    """A recording as a sequence. A body is what has one tracker id; where it is not finite, or zero, it is not there.

    Of more than `most` bodies, those that are there in most frames. Raises Skipped when nobody is in it.
    """
    sound = np.isfinite(recording.joints).all(axis=(1, 2)) & recording.joints.any(axis=(1, 2))  # (B,)
    if not sound.any():
        raise Skipped("no bodies")
    frame = np.repeat(np.arange(len(recording)), np.diff(recording.frame_start))[sound]
    place: dict[int, int] = {}  # ids lie above 2**53 and stay Python integers
    body = np.array([place.setdefault(recording.track_ids[i], len(place)) for i in np.flatnonzero(sound)])
    joints = np.zeros((len(recording), len(place), JOINTS, 3), np.float32)
    tracking = np.zeros(joints.shape[:3], np.uint8)
    joints[frame, body], tracking[frame, body] = recording.joints[sound], recording.tracking[sound]
    longest = np.argsort(-np.bincount(body), kind="stable")[:most]
    kept = np.sort(longest)  # by first appearance again
    return ImportedSequence(joints[:, kept], tracking[:, kept], labels)
