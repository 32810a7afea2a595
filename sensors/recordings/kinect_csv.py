"""Joints of one body from a Kinect v2 as CSV without a header: a line for each frame.

The time in ticks of 100 ns, then x, y, z (metres, camera axes) and tracking state (0, 1, 2) of each of the 25 joints in
the order of Kinect v2, separated by commas; a comma may end the line.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import Joints, Tracking
from skelanon.sensors.joints import JOINTS
from skelanon.sensors.recording import Recording

from .gathering import BYTE_ORDER_MARK, Gathering, MalformedError, cells, lines, numbers, whole

_COLUMNS: Final = 1 + 4 * JOINTS
_TICK_NS: Final = 100
_STATES: Final = frozenset((0.0, 1.0, 2.0))


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is such a CSV."""
    first = head.removeprefix(BYTE_ORDER_MARK).partition(b"\n")[0]
    try:
        time, *values = cells(first.strip(), b",", _COLUMNS)
        whole(time)
        numbers(values)
    except MalformedError:
        return False
    return True


def parse(data: bytes) -> Recording:
    """Parse the content of a file. Lines that cannot be read are left out and counted. Raises RecordingError."""
    gathering = Gathering((JOINTS, 4))
    for number, line in lines(data):
        try:
            _add(gathering, cells(line, b",", _COLUMNS))
        except MalformedError as fault:
            gathering.leave_out(f"line {number}", fault)
    return gathering.finish(_convert)


def _add(gathering: Gathering, texts: list[bytes]) -> None:
    time_ns, values = whole(texts[0]) * _TICK_NS, numbers(texts[1:])
    if not _STATES.issuperset(values[3::4]):
        raise MalformedError("a tracking state is not 0, 1 or 2")
    gathering.add(time_ns, 0, values)


def _convert(values: NDArray[np.float64]) -> tuple[Joints, Tracking]:
    return values[..., :3].astype(np.float32), values[..., 3].astype(np.uint8)
