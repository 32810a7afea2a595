"""ETRI-Activity3D's CSV files: a row for each body in each frame, as a Kinect v2 saw it.

Columns are found by name: `frameNum`, `bodyindexID`, `joint1_3dX` to `joint25_3dZ` (Kinect v2's joint order, metres,
camera axes) and, where there are such, `joint1_trackingState` to `joint25_trackingState`.
Source: J. Jang et al., "ETRI-Activity3D: a large-scale RGB-D dataset for robots to recognize daily activities of the
elderly", IROS 2020.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.errors import RecordingError
from skelanon.sensors.frame import MAX_BODIES, TRACKED, Joints, Tracking
from skelanon.sensors.joints import JOINTS
from skelanon.sensors.recording import MAX_FRAMES, Recording

from .gathering import BYTE_ORDER_MARK

_LARGEST: Final = 1e6
"""Metres; also keeps out what is not finite."""
_MOST_COLUMNS: Final = 4096
_COORDINATE: Final = re.compile(r"joint(\d{1,3})_3d([xyz])", re.ASCII)
_STATE: Final = re.compile(r"joint(\d{1,3})_tracking_?state", re.ASCII)
_LOOKS: Final = re.compile(rb"[^\n]*\bjoint\d{1,3}_3d[xyz]", re.IGNORECASE)


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is such a CSV."""
    return _LOOKS.match(head) is not None


def parse(data: bytes) -> Recording:
    """Parse the content of a file; frames are those that have rows, by `frameNum`. The header is row 1.

    Where there are no tracking states, all joints are tracked. A header without rows is a recording of no frames.
    Raises RecordingError, which names the row, for a malformed one: these files were not written while recording.
    """
    rows = _rows(data)
    header = rows.pop(0)
    if header.count(b",") >= _MOST_COLUMNS:
        raise RecordingError(f"the header (row 1) has more than {_MOST_COLUMNS} columns")
    titles = [title.strip().strip('"') for title in header.decode("latin-1").split(",")]
    keys, coordinates, states = _columns(titles)
    for number, row in enumerate(rows, 2):
        if row.count(b",") + 1 != len(titles):
            raise RecordingError(f"row {number} has {row.count(b',') + 1} columns, the header has {len(titles)}")
    values = _values(rows, titles, [*coordinates, *states]) if rows else np.empty((0, 4 * JOINTS), np.float32)
    frames, bodies = _places(rows, titles, keys)
    order = sorted(range(len(rows)), key=frames.__getitem__)  # stable: bodies of a frame in the order of the file
    joints, tracking = _convert(values[order])
    starts = [i for i, row in enumerate(order) if i == 0 or frames[row] != frames[order[i - 1]]]
    return Recording(joints, tracking, tuple(bodies[row] for row in order), (*starts, len(order)))


def _rows(data: bytes) -> list[bytes]:
    if data.count(b"\n") + data.count(b"\r") > 2 * MAX_FRAMES:
        raise RecordingError(f"the recording has more than {MAX_FRAMES} rows: split it")
    rows = data.removeprefix(BYTE_ORDER_MARK).splitlines() or [b""]
    while len(rows) > 1 and not rows[-1].strip():
        rows.pop()
    return rows


def _columns(titles: list[str]) -> tuple[tuple[int, int], list[int], list[int]]:
    """Where frame and body, the 75 coordinates joint by joint, and the 25 tracking states (or none) stand."""
    titles = [title.lower() for title in titles]
    place = {title: column for column, title in enumerate(titles)}
    if len(place) < len(titles):
        raise RecordingError("the header (row 1) names a column twice")
    missing = [name for name in ("frameNum", "bodyindexID") if name.lower() not in place]
    if missing:
        raise RecordingError(f"the header (row 1) has no column `{missing[0]}`")
    coordinates = {(int(m[1]), m[2]): place[t] for t in titles if (m := _COORDINATE.fullmatch(t))}
    wanted = [(joint, axis) for joint in range(1, JOINTS + 1) for axis in "xyz"]
    if sorted(coordinates) != wanted:
        found = len({joint for joint, _ in coordinates})
        raise RecordingError(
            f"the header (row 1) has {found} joints; all of joint1_3dX to joint{JOINTS}_3dZ must be there"
        )
    states = {int(m[1]): place[t] for t in titles if (m := _STATE.fullmatch(t))}
    if states and sorted(states) != list(range(1, JOINTS + 1)):
        raise RecordingError(
            f"the header (row 1) has tracking states of {len(states)} joints; it must be all {JOINTS}, or none"
        )
    return (
        (place["framenum"], place["bodyindexid"]),
        [coordinates[key] for key in wanted],
        [states[joint] for joint in sorted(states)],
    )


def _values(rows: list[bytes], titles: list[str], columns: list[int]) -> NDArray[np.float32]:
    """(R, len(columns)) float32, all of them finite, those beyond the coordinates 0, 1 or 2."""
    try:
        values = np.loadtxt(
            rows, np.float64, comments=None, delimiter=",", usecols=columns, ndmin=2, encoding="latin-1"
        )
    except ValueError:
        pass  # its words quote the recording
    else:
        good = np.abs(values) < _LARGEST
        good[:, 3 * JOINTS :] = np.isin(values[:, 3 * JOINTS :], (0, 1, 2))
        if len(values) == len(rows) and good.all():
            return values.astype(np.float32)
    raise RecordingError(_first_bad(rows, titles, columns))


def _first_bad(rows: list[bytes], titles: list[str], columns: list[int]) -> str:
    """Words about the first cell that `_values` does not accept, without what stands in it."""
    for number, row in enumerate(rows, 2):
        cells = row.split(b",")
        for i, column in enumerate(columns):
            expected = "a number" if i < 3 * JOINTS else "0, 1 or 2"
            try:
                value = float(cells[column])
            except ValueError:
                value = np.nan
            if not (abs(value) < _LARGEST if i < 3 * JOINTS else value in (0, 1, 2)):
                return f"row {number}, column `{titles[column]}`: {expected} must stand here"
    return "its rows are malformed"


def _places(rows: list[bytes], titles: list[str], keys: tuple[int, int]) -> tuple[list[int], list[int]]:
    """`frameNum` and `bodyindexID` of each row."""
    frames, bodies = ([_whole(row, number, column, titles) for number, row in enumerate(rows, 2)] for column in keys)
    if len(set(bodies)) > MAX_BODIES:
        raise RecordingError(f"{len(set(bodies))} bodies; a recording has at most {MAX_BODIES}")
    seen: set[tuple[int, int]] = set()
    for number, key in enumerate(zip(frames, bodies, strict=True), 2):
        if key in seen:
            raise RecordingError(f"row {number}: this body is in the frame already")
        seen.add(key)
    return frames, bodies


def _whole(row: bytes, number: int, column: int, titles: list[str]) -> int:
    """A frame's or a body's number; exact, for body ids may be above 2**53."""
    cell = row.split(b",", column + 1)[column].strip()
    try:
        return int(cell) if cell.isdigit() else int(float(cell))
    except (ValueError, OverflowError):
        pass  # its words quote the recording
    raise RecordingError(f"row {number}, column `{titles[column]}`: a whole number must stand here")


def _convert(values: NDArray[np.float32]) -> tuple[Joints, Tracking]:
    joints = values[:, : 3 * JOINTS].reshape(-1, JOINTS, 3)
    if values.shape[1] == 3 * JOINTS:
        return joints, np.full(joints.shape[:2], TRACKED, np.uint8)
    return joints, values[:, 3 * JOINTS :].astype(np.uint8)
