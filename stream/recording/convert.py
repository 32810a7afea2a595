"""Recordings as files that other programs read: NTU `.skeleton`, NumPy `.npz`, CSV."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import JOINT_NAMES, JOINTS
from skelanon.sensors.ntu import MAX_BODIES
from skelanon.sensors.recording import MAX_FRAMES
from skelanon.sensors.skeleton_writer import write_skeleton
from skelanon.stream.received import ReceivedFrame

from .errors import RecordError
from .reader import Recording

TRACKED: Final = 2
"""What stands for tracking states that the node did not publish."""
SKELETON_ROWS: Final = 30_000
"""Bodies in one `.skeleton` file: below 64 MB, which readers take."""


def to_csv(recording: Recording, out: Path) -> int:
    """One row for each body of each frame, and one without a body for each frame that has none; returns the frames.

    Numbers are written so that they come back bit for bit. Raises RecordError.
    """
    columns = [f"{joint}_{part}" for joint in JOINT_NAMES for part in ("x", "y", "z", "tracking")]
    frames = 0
    with _new_files() as create, create(out).open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_FRAME_COLUMNS, "id", *columns])
        for frame in recording:
            frames += 1
            about = [getattr(frame, name) for name in _FRAME_COLUMNS]
            if not frame.ids:
                writer.writerow([*about, "", *[""] * len(columns)])
            for body, joints, tracking in zip(frame.ids, frame.joints, _tracking(frame), strict=True):
                values = zip(joints.tolist(), tracking, strict=True)
                writer.writerow([*about, body, *(cell for xyz, state in values for cell in (*map(_exact, xyz), state))])
    return frames


_FRAME_COLUMNS: Final = ("stream", "epoch", "sequence", "captured_ns", "published_ns", "received_ns", "state", "lost")


def _exact(value: float) -> str:
    return f"{value:.9g}"


def _tracking(frame: ReceivedFrame) -> list[list[int | str]]:
    """For each body the states of its joints; nothing where the node did not publish them."""
    return [[""] * JOINTS] * len(frame.ids) if frame.tracking is None else frame.tracking.tolist()


@dataclass(slots=True)
class _Sequence:
    """One stream from a start of its node to the next."""

    stream: str
    epoch: int
    axes: str = ""
    captured_ns: list[int] = field(default_factory=list)
    sequence: list[int] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    id: list[int] = field(default_factory=list)
    joints: list[NDArray[np.float32]] = field(default_factory=list)
    tracking: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(self, frame: ReceivedFrame) -> None:
        self.frame += [len(self.captured_ns)] * len(frame.ids)
        self.captured_ns.append(frame.captured_ns)
        self.sequence.append(frame.sequence)
        self.id += frame.ids
        self.joints.append(frame.joints)
        self.tracking.append(_known_tracking(frame))


def _known_tracking(frame: ReceivedFrame) -> NDArray[np.uint8]:
    """(M, 25) uint8."""
    return np.full((len(frame.ids), JOINTS), TRACKED, np.uint8) if frame.tracking is None else frame.tracking


def to_npz(recording: Recording, out: Path) -> int:
    """All bodies in arrays, in the layout of released skeletons that the audit reads; returns the frames.

    A sequence is one stream from a start of its node to the next; S sequences, F frames, R bodies in all.
    joints: (R, 25, 3) float32, metres. tracking: (R, 25) uint8. id: (R,) uint32. frame: (R,) number of the body's frame
    in its sequence. start: (S + 1,) first row of each sequence, and R. frame_start: (S + 1,) the same for frames.
    captured_ns, sequence: (F,) int64. stream, epoch, axes: (S,); axes is empty where no schema was recorded.
    Raises RecordError.
    """
    sequences: list[_Sequence] = []
    newest: dict[str, _Sequence] = {}
    for frame in recording:
        known = newest.get(frame.stream)
        if known is None or known.epoch != frame.epoch:
            known = newest[frame.stream] = _Sequence(frame.stream, frame.epoch)
            sequences.append(known)
        known.add(frame)
        schema = recording.streams[frame.stream].schema
        known.axes = schema.axes if schema is not None else known.axes
    if not sequences:
        raise RecordError("there is nothing to convert: the recording holds no frame")
    arrays: dict[str, Any] = {
        "joints": _together(sequences, "joints").astype(np.float32),
        "tracking": _together(sequences, "tracking"),
        "id": np.array([body for one in sequences for body in one.id], np.uint32),
        "frame": np.array([frame for one in sequences for frame in one.frame], np.int64),
        "start": np.cumsum([0, *(len(one.id) for one in sequences)], dtype=np.int64),
        "frame_start": np.cumsum([0, *(len(one.captured_ns) for one in sequences)], dtype=np.int64),
        "captured_ns": np.array([time for one in sequences for time in one.captured_ns], np.int64),
        "sequence": np.array([number for one in sequences for number in one.sequence], np.int64),
        "stream": np.array([one.stream for one in sequences]),
        "epoch": np.array([one.epoch for one in sequences], np.int64),
        "axes": np.array([one.axes for one in sequences]),
    }
    buffer = io.BytesIO()  # a full disk in the middle of a zip file raises anything
    np.savez(buffer, **arrays)
    with _new_files() as create:
        create(out).write_bytes(buffer.getbuffer())
    return len(arrays["captured_ns"])


def _together(sequences: list[_Sequence], name: str) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate([part for one in sequences for part in getattr(one, name)])
    return joined


def to_skeleton(recording: Recording, out: Path) -> int:
    """Fill a folder with `.skeleton` files, which replay as a sensor's would; returns the frames.

    A stream's file is `STREAM.skeleton`; `STREAM-2.skeleton` follows where the node was started anew, or the file is
    full. Body ids are the wire's, which are random. Orientations, lean, hands, colour and depth are zeros; tracking
    states that were not published are 2. Times are not kept, nor room for frames that were lost.
    Raises RecordError, also for a frame of more than 6 bodies, which the format's readers do not take.
    """
    parts: dict[str, _Part] = {}
    frames = 0
    with _new_files() as create:
        for frame in recording:
            if len(frame.ids) > MAX_BODIES:
                raise RecordError(
                    f"a frame of stream {frame.stream} has {len(frame.ids)} bodies; a `.skeleton` file has at most "
                    f"{MAX_BODIES}: convert to npz or csv"
                )
            part = parts.get(frame.stream)
            if part is None or not part.takes(frame):
                if part is not None:
                    part.write(out, create)
                part = parts[frame.stream] = _Part(frame.stream, frame.epoch, part.number + 1 if part else 1)
            part.add(frame)
            frames += 1
        if not frames:
            raise RecordError("there is nothing to convert: the recording holds no frame")
        for part in parts.values():
            part.write(out, create)
    return frames


@dataclass(slots=True)
class _Part:
    """What goes into one `.skeleton` file."""

    stream: str
    epoch: int
    number: int
    rows: int = 0
    frames: list[BodyFrame] = field(default_factory=list)
    """The writer's type; anonymous bodies may well be taken for raw ones, never the other way round."""

    def takes(self, frame: ReceivedFrame) -> bool:
        fits = self.rows + len(frame.ids) <= SKELETON_ROWS and len(self.frames) < MAX_FRAMES
        return fits and self.epoch == frame.epoch

    def add(self, frame: ReceivedFrame) -> None:
        self.rows += len(frame.ids)
        self.frames.append(BodyFrame(frame.captured_ns, frame.joints, _known_tracking(frame), frame.ids))

    def write(self, folder: Path, create: Callable[[Path], Path]) -> None:
        name = self.stream if self.number == 1 else f"{self.stream}-{self.number}"
        write_skeleton(create(folder / f"{name}.skeleton"), self.frames)


@contextmanager
def _new_files() -> Iterator[Callable[[Path], Path]]:
    """Gives a function that makes an empty file. All are removed again if not everything went well."""
    made: list[Path] = []

    def create(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("xb").close()
        made.append(path)
        return path

    try:
        yield create
        made.clear()
    except FileExistsError as error:
        raise RecordError(f"{error.filename} exists already; choose another name") from None
    except OSError as error:
        raise RecordError(f"cannot write {error.filename or made[-1]}: {error.strerror}") from error
    finally:
        for path in made:
            with suppress(OSError):
                path.unlink()
