"""Gathers what a file holds record by record, and counts what cannot be read instead of giving up.

For kinds that a program wrote while it recorded: where it was killed, or the disk was full, a broken record is left.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.errors import RecordingError
from skelanon.sensors.frame import MAX_BODIES, Joints, Tracking
from skelanon.sensors.recording import MAX_FRAMES, Recording

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MOST_LINES: Final = 1_000_000
_LARGEST: Final = 1e6
"""Metres or millimetres: beyond what any depth sensor sees."""
_LATEST_NS: Final = 1 << 63

Convert = Callable[[NDArray[np.float64]], tuple[Joints, Tracking]]
"""The values of B bodies, (B, ...), as joints (B, 25, 3) and tracking states (B, 25)."""


class MalformedError(ValueError):
    """A record cannot be read. The message says why, without what stands in it."""


class Gathering:
    """The frames of a recording, added one after the other; each body is `shape` numbers."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._values = array("d")
        self._track_ids: list[int] = []
        self._frame_start: list[int] = []
        self._times_ns: list[int] = []
        self._left_out = 0
        self._first_left_out = ""

    def add(self, time_ns: int, track_id: int, values: Sequence[float]) -> None:
        """Add a body to the frame of this time, which begins here unless it is the newest. Raises as those below."""
        check(values)
        if not self._times_ns or time_ns != self._times_ns[-1]:
            self.add_frame(time_ns)
        self.add_body(track_id, values)

    def add_frame(self, time_ns: int) -> None:
        """Begin a frame. Raises MalformedError: no such time; RecordingError: too many frames."""
        if not 0 <= time_ns < _LATEST_NS:
            raise MalformedError("its time is out of range")
        if len(self._times_ns) == MAX_FRAMES:
            raise RecordingError(f"the recording has more than {MAX_FRAMES} frames: split it")
        self._times_ns.append(time_ns)
        self._frame_start.append(len(self._track_ids))

    def add_body(self, track_id: int, values: Sequence[float]) -> None:
        """Add a body, its values checked, to the newest frame. Raises MalformedError: there already, one too many."""
        in_frame = self._track_ids[self._frame_start[-1] :]
        if track_id in in_frame:
            raise MalformedError("this body is in the frame already")
        if len(in_frame) == MAX_BODIES:
            raise MalformedError(f"a frame has at most {MAX_BODIES} bodies")
        self._track_ids.append(track_id)
        self._values.extend(values)

    def leave_out(self, place: str, fault: MalformedError) -> None:
        """Count a record that cannot be read."""
        self._left_out += 1
        self._first_left_out = self._first_left_out or f"{place}: {fault}"

    def finish(self, convert: Convert) -> Recording:
        """The recording. Raises RecordingError: no frames, or more records left out than frames and bodies read."""
        if self._left_out > max(len(self._times_ns), len(self._track_ids)):
            raise RecordingError(f"most of its records cannot be read; {self._first_left_out}")
        if not self._times_ns:
            raise RecordingError("the recording holds no frames")
        joints, tracking = convert(np.frombuffer(self._values).reshape(-1, *self._shape))
        return Recording(
            joints,
            tracking,
            tuple(self._track_ids),
            (*self._frame_start, len(self._track_ids)),
            tuple(self._times_ns),
            self._left_out,
            self._first_left_out,
        )


def check(values: Sequence[float]) -> None:
    """Raises MalformedError where a value is not finite, or out of reach."""
    if not (isfinite(sum(values)) and min(values) > -_LARGEST and max(values) < _LARGEST):
        raise MalformedError("a value is not finite, or too large")


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers from 1 on, without the blanks around them.

    Raises RecordingError: far too many.
    """
    if data.count(b"\n") > _MOST_LINES:
        raise RecordingError(f"the recording has more than {_MOST_LINES} lines: split it")
    for number, line in enumerate(BytesIO(data.removeprefix(BYTE_ORDER_MARK)), 1):
        if text := line.strip():
            yield number, text


def cells(line: bytes, delimiter: bytes, count: int) -> list[bytes]:
    """The cells of a line, which may end with a delimiter. Raises MalformedError: not `count` cells."""
    line = line.removesuffix(delimiter)
    found = line.count(delimiter) + 1  # before they are split, for a hostile line has millions
    if found != count:
        raise MalformedError(f"{found} cells stand here, not {count}")
    return line.split(delimiter)


def whole(cell: bytes) -> int:
    """The whole number in a cell. Raises MalformedError."""
    text = cell.strip()
    if not text.isdigit() or len(text) > 20:
        raise MalformedError("a whole number is missing")
    return int(text)


def numbers(texts: Sequence[bytes]) -> list[float]:
    """The numbers in cells. Raises MalformedError."""
    try:
        found = list(map(float, texts))
    except ValueError:
        found = []
    if not found or any(b"_" in text for text in texts):  # an underscore: Python's digit separator
        raise MalformedError("a number is missing")
    return found
