"""NTU RGB+D `.skeleton` recordings: one text file for each clip, with the bodies that a Kinect v2 saw in each frame.

The number of frames; for each frame the number of bodies; for each body a line of 10 fields (its id first), the
number of joints, and a line of 12 fields for each joint: x y z depthX depthY colorX colorY orientationW orientationX
orientationY orientationZ trackingState. Source: shahroudy/NTURGB-D, `Matlab/read_skeleton_file.m`.
"""

import logging
import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from .errors import RecordingError
from .frame import Joints
from .joints import JOINTS
from .recording import MAX_BYTES, MAX_FRAMES, Recording, read_file

MAX_BODIES: Final = 6
"""Bodies that a Kinect v2 tracks at the same time."""


class _LineFormat:
    """One line of a body: the type of each column, and what to say where something else stands."""

    def __init__(self, expected: str, *columns: Any) -> None:
        self.expected = expected
        self.columns = columns
        # MessagePack, unlike JSON, knows NaN: for the lines that are read with care, token by token.
        self.decoder: msgspec.msgpack.Decoder[tuple[Any, ...]] = msgspec.msgpack.Decoder(GenericAlias(tuple, columns))


_HEAD = _LineFormat("a body must stand here: its id, then 9 numbers", Annotated[int, Meta(ge=0)], *[float] * 9)
_COUNT = _LineFormat("the number of joints must stand here, 25", Literal[25])
_STATE = Annotated[int, Meta(ge=0, le=2)]
_JOINT = _LineFormat("a joint must stand here: 11 numbers, then its tracking state, 0, 1 or 2", *[float] * 11, _STATE)
_BODY_LINES = (_HEAD, _COUNT, *[_JOINT] * JOINTS)

# One call of a JSON decoder reads and checks a whole body, as one array with a null at each end of line:
# id, 9 numbers, null, 25, null, then x y z ... state, null for each joint.
_BODY: Any = GenericAlias(tuple, tuple(column for line in _BODY_LINES for column in (*line.columns, None)))
_body_decoder: msgspec.json.Decoder[tuple[Any, ...]] = msgspec.json.Decoder(_BODY)
_X, _Y, _Z, _TRACKING = (slice(13 + column, None, 13) for column in (0, 1, 2, 11))

_TO_JSON = bytes(c if c in b"0123456789+-.eE\r\n" else ord(",") if c == ord(" ") else ord("?") for c in range(256))
"""Turns blanks into commas, and whatever is neither number nor end of line into what JSON does not know."""

_pack = struct.Struct(f"{3 * JOINTS}d").pack  # three times faster than numpy.array

_SAMPLE = re.compile(rb"(S\d{3}C\d{3}P\d{3}R\d{3}A\d{3})(?:\.skeleton)?")

logger = logging.getLogger(__name__)


def read_skeleton(path: str | os.PathLike[str]) -> Recording:
    """Read a `.skeleton` file. Raises SensorError when it cannot be read, RecordingError when it is malformed."""
    return parse_skeleton(read_file(path, MAX_BYTES))


def parse_skeleton(data: bytes) -> Recording:
    """Parse the content of a `.skeleton` file; ghost bodies are kept, NaN and infinite values are let through.

    Raises RecordingError, which names the line, for anything else than the format: wrong counts or columns, what is
    not a number, a state outside 0 to 2, a body id twice in a frame, lines missing or left over, no frames.
    """
    lines = _Lines(data)
    joints: list[bytes] = []
    tracking: list[bytes] = []
    track_ids: list[int] = []
    frame_start = [0]
    for _ in range(lines.take_count("frames", least=1, most=MAX_FRAMES)):
        for _ in range(lines.take_count("bodies", most=MAX_BODIES)):
            body = lines.take_body()
            track_id = body[0]
            if track_id in track_ids[frame_start[-1] :]:
                raise RecordingError(f"line {lines.taken - len(_BODY_LINES) + 1}: this body is in the frame already")
            track_ids.append(track_id)
            joints.append(_pack(*body[_X], *body[_Y], *body[_Z]))
            tracking.append(bytes(body[_TRACKING]))
        frame_start.append(len(track_ids))
    lines.require_end()
    return Recording(
        _joints(b"".join(joints)),
        np.frombuffer(b"".join(tracking), np.uint8).reshape(-1, JOINTS),
        tuple(track_ids),
        tuple(frame_start),
    )


def _joints(packed: bytes) -> Joints:
    values = np.frombuffer(packed, np.float64).reshape(-1, 3, JOINTS).transpose(0, 2, 1)  # (B, 25, 3)
    with np.errstate(over="ignore"):  # beyond float32: infinite, and withheld like any other such value
        return values.astype(np.float32, order="C")


class _Lines:
    """The lines of a recording, taken one after the other.

    Raises RecordingError, naming the line (from 1 on), where something else stands.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        if not data.endswith(b"\n"):
            ends = np.append(ends, len(data))
        self._ends = ends.data  # gives Python integers
        self._position = 0
        self.taken = 0

    def take_count(self, things: str, least: int = 0, *, most: int) -> int:
        """The number that stands alone in the next line."""
        text = self._take(1).strip()
        if not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
            raise RecordingError(f"line {self.taken}: the number of {things} must stand here, {least} to {most}")
        return int(text)

    def take_body(self) -> tuple[Any, ...]:
        """The numbers of the next 27 lines, each line followed by None."""
        text = self._take(len(_BODY_LINES))
        with suppress(msgspec.DecodeError):  # JSON knows neither NaN nor .5, nor two blanks in a row: look closer then
            return _body_decoder.decode(b"[%b,null]" % text.translate(_TO_JSON).replace(b"\n", b",null,"))
        return _read_with_care(text, self.taken - len(_BODY_LINES) + 1)

    def require_end(self) -> None:
        """Refuse lines that are left over."""
        if self._data[self._position :].strip():
            raise RecordingError(f"line {self.taken + 1}: the recording must have ended with its last frame")

    def _take(self, lines: int) -> bytes:
        self.taken += lines
        if self.taken > len(self._ends):
            raise RecordingError(f"line {len(self._ends)}: the recording ends too early")
        start, self._position = self._position, self._ends[self.taken - 1] + 1
        return self._data[start : self._position - 1]


def _read_with_care(text: bytes, number: int) -> tuple[Any, ...]:
    body: list[Any] = []
    for line, kind in zip(text.split(b"\n"), _BODY_LINES, strict=True):
        numbers = _numbers(line, kind)
        if numbers is None:
            raise RecordingError(f"line {number}: {kind.expected}")
        body += (*numbers, None)
        number += 1
    return tuple(body)


def _numbers(line: bytes, kind: _LineFormat) -> tuple[Any, ...] | None:
    """The numbers of a line; None where it is malformed, because the errors in here quote the recording."""
    try:
        tokens = [_number(token) for token in line.split(None, len(kind.columns))]
        return kind.decoder.decode(msgspec.msgpack.encode(tokens))
    except (ValueError, OverflowError, msgspec.ValidationError):
        return None


def _number(token: bytes) -> float:
    if token.isdigit() and len(token) <= 20:
        return int(token)
    if b"_" in token:
        raise ValueError("Python's digit separator")
    return float(token)


_LOOKS: Final = re.compile(
    rb"[ \t]*\d{1,10}[ \t\r]*\n"  # frames
    rb"(?:[ \t]*0[ \t\r]*\n)*"  # frames without bodies
    rb"(?:[ \t]*\d{1,2}[ \t\r]*\n[ \t]*(?:\S+[ \t]+){9}\S+[ \t\r]*\n|\d*[ \t\r]*\Z)"  # bodies, and the first of them
)


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a `.skeleton` file."""
    return _LOOKS.match(head) is not None


def skeleton_files(folder: Path) -> list[Path]:
    """The `.skeleton` files of a folder in the order of their names, without those in lists of missing skeletons."""
    missing = missing_skeletons(folder)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".skeleton" and path.is_file())
    kept = [path for path in paths if path.stem not in missing]
    if len(kept) < len(paths):
        logger.info("%d of %d recordings skipped: listed as missing skeletons", len(paths) - len(kept), len(paths))
    return kept


def missing_skeletons(folder: Path) -> frozenset[str]:
    """Names (S001C001P001R001A001) in the lists of samples with missing skeletons that lie in a folder.

    Such a list is a `.txt` file with `missing_skeletons` in its name, as NTU RGB+D and NTU RGB+D 120 publish them.
    """
    names: set[str] = set()
    for path in folder.glob("*missing_skeletons*.txt"):
        with path.open("rb") as file:
            samples = (_SAMPLE.fullmatch(line.strip()) for line in file)
            names.update(sample[1].decode() for sample in samples if sample)
    return frozenset(names)
