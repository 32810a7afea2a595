"""Joints of Azure Kinect Body Tracking as CSV: a row for each body in each frame, cells separated by semicolons.

Columns are found by name: `timestamp` (microseconds on the device's clock), `body_idx`, and for each of the 32 joints
its confidence, 0 to 3, and its place in millimetres: `PELVIS (c)`, `PELVIS (x)`, `PELVIS (y)`, `PELVIS (z)`. A frame
without bodies has no row. The file of orientations, `PELVIS (w)`, that is written beside it holds no joints.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.azure_joints import AZURE_JOINT_NAMES, AZURE_JOINTS, to_kinect25, tracking_of
from skelanon.sensors.errors import RecordingError
from skelanon.sensors.frame import Joints, Tracking
from skelanon.sensors.recording import Recording

from .gathering import Gathering, MalformedError, cells, lines, numbers, whole

NO_BODY: Final = 0xFFFFFFFF
"""`K4ABT_INVALID_BODY_ID`."""
_MOST_COLUMNS: Final = 1024
_KEYS: Final = ("TIMESTAMP", "BODY_IDX")
_VALUES: Final = tuple(f"{joint} ({what})" for joint in AZURE_JOINT_NAMES for what in "CXYZ")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is such a CSV of joints."""
    first = head.partition(b"\n")[0].upper()
    return b";PELVIS (X)" in first and b";PELVIS (W)" not in first


def parse(data: bytes) -> Recording:
    """Parse the content of a file. Rows that cannot be read are left out and counted. Raises RecordingError."""
    rows = lines(data)
    _, header = next(rows, (1, b""))
    columns, (time, body, *values) = _columns(header)
    gathering = Gathering((AZURE_JOINTS, 4))
    for number, row in rows:
        try:
            texts = cells(row, b";", columns)
            joints = numbers([texts[column] for column in values])
            _add(gathering, whole(texts[time]) * 1000, whole(texts[body]), joints)
        except MalformedError as fault:
            gathering.leave_out(f"line {number}", fault)
    return gathering.finish(_convert)


def _columns(header: bytes) -> tuple[int, list[int]]:
    """How many columns there are, and where time, body and the 128 values stand."""
    columns = header.removesuffix(b";").count(b";") + 1
    if columns > _MOST_COLUMNS:
        raise RecordingError(f"line 1: the header has {columns} columns, more than {_MOST_COLUMNS}")
    titles = [title.strip().replace("NAVAL", "NAVEL") for title in header.decode("latin-1").upper().split(";")]
    place = {title: column for column, title in reversed(list(enumerate(titles)))}
    missing = [title for title in (*_KEYS, *_VALUES) if title not in place]
    if missing:
        raise RecordingError(f"line 1: the header has no column `{missing[0].lower()}`")
    return columns, [place[title] for title in (*_KEYS, *_VALUES)]


def _add(gathering: Gathering, time_ns: int, body: int, values: list[float]) -> None:
    if body >= NO_BODY:
        raise MalformedError("its number is that of no body")
    gathering.add(time_ns, body, values)


def _convert(values: NDArray[np.float64]) -> tuple[Joints, Tracking]:
    return to_kinect25(values[..., 1:]), tracking_of(values[..., 0].astype(np.int64))
