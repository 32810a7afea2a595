"""What a camera's process tells the daemon, over a pipe that nobody else holds: fixed records, bounded, no pickle.

A record is a header of 24 bytes and, for a frame, its bodies, each the bytes of `k4abt_body_t`: id and skeleton as the
tracker wrote them. Integers are in the machine's own order; both ends run on it.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.azure_joints import AZURE_JOINTS
from skelanon.sensors.frame import MAX_BODIES

JOINT: Final = np.dtype([("position", "f4", 3), ("orientation", "f4", 4), ("confidence", "i4")])
"""`k4abt_joint_t`: millimetres; w, x, y, z; 0 NONE to 3 HIGH."""
BODY: Final = np.dtype([("id", "u4"), ("joints", JOINT, AZURE_JOINTS)])
"""`k4abt_body_t`: 4 + 1024 bytes."""
INVALID_ID: Final = 0xFFFFFFFF
"""`K4ABT_INVALID_BODY_ID`."""

Bodies = NDArray[Any]
"""(M,) of BODY."""

_HEADER: Final = struct.Struct("=4sBxHQq")
_MAGIC: Final = b"SKA1"


class Kind(IntEnum):
    """What a record says."""

    ALIVE = 1
    """The process waits, and lives."""
    READY = 2
    """Camera and tracker have started."""
    FRAME = 3
    """A result of the tracker, perhaps without bodies."""
    ENDED = 4
    """The recording has been played."""
    RECYCLE = 5
    """The process holds too much memory and ends, to be replaced."""
    PROBLEM = 6
    """The process gives up."""


class RecordError(ValueError):
    """What stands in the pipe is not a record."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Record:
    """One record: raw where it is a frame, and therefore without a repr of its values.

    device_usec: time of capture on the device's clock.
    arrived_ns: when the image arrived, on the host's monotonic clock.
    detail: the number of a problem. bodies: (M,) of BODY.
    """

    kind: Kind
    detail: int = 0
    device_usec: int = 0
    arrived_ns: int = 0
    bodies: Bodies = field(default_factory=lambda: np.empty(0, BODY))

    def __repr__(self) -> str:
        return f"Record({self.kind.name}, bodies={len(self.bodies)})"


def pack(record: Record) -> bytes:
    """The bytes of a record."""
    detail = len(record.bodies) if record.kind is Kind.FRAME else record.detail
    header = _HEADER.pack(_MAGIC, record.kind, detail, record.device_usec, record.arrived_ns)
    return header + record.bodies.tobytes()


def read_record(stream: BinaryIO) -> Record | None:
    """The next record, or None at the end of the stream, be it in the middle of a record.

    Raises RecordError on anything that is not a record; never reads more than the largest frame.
    """
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, number, detail, device_usec, arrived_ns = _HEADER.unpack(header)
    if magic != _MAGIC or number not in Kind.__members__.values():
        raise RecordError("not the header of a record")
    kind = Kind(number)
    if kind is not Kind.FRAME:
        return Record(kind, detail, device_usec, arrived_ns)
    if detail > MAX_BODIES:
        raise RecordError(f"{detail} bodies; a frame has at most {MAX_BODIES}")
    payload = stream.read(detail * BODY.itemsize)
    if len(payload) < detail * BODY.itemsize:
        return None
    return Record(kind, 0, device_usec, arrived_ns, np.frombuffer(payload, BODY))
