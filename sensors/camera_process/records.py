"""What a camera's process tells the daemon, over a pipe that nobody else holds: fixed records, bounded, no pickle.

A record is a header of 24 bytes and, for a frame, its bodies, each as the camera's kind lays them out: the bytes that
its software wrote. Integers are in the machine's own order; both ends run on it.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import MAX_BODIES

Bodies = NDArray[Any]
"""(M,) of the layout of one kind of camera."""

_HEADER: Final = struct.Struct("=4sBxHQq")
_MAGIC: Final = b"SKA1"


class Kind(IntEnum):
    """What a record says."""

    ALIVE = 1
    """The process waits, and lives."""
    READY = 2
    """The camera has started."""
    FRAME = 3
    """The bodies of one instant, perhaps none."""
    ENDED = 4
    """The recording has been played."""
    RECYCLE = 5
    """The process holds too much memory and ends, to be replaced; before READY: it could never do with less."""
    PROBLEM = 6
    """The process gives up."""


class RecordError(ValueError):
    """What stands in the pipe is not a record."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Record:
    """One record: raw where it is a frame, and therefore without a repr of its values.

    device_usec: time of capture on the device's clock.
    arrived_ns: when it arrived, by `time.perf_counter_ns`: all processes share that clock, and on Windows it is finer
    than the monotonic one.
    detail: the number of a problem, 0 for one that nobody foresaw. bodies: (M,) of the camera's layout.
    """

    kind: Kind
    detail: int = 0
    device_usec: int = 0
    arrived_ns: int = 0
    bodies: Bodies = field(default_factory=lambda: np.empty(0, np.void))

    def __repr__(self) -> str:
        return f"Record({self.kind.name}, bodies={len(self.bodies)})"


def pack(record: Record) -> bytes:
    """The bytes of a record."""
    detail = len(record.bodies) if record.kind is Kind.FRAME else record.detail
    header = _HEADER.pack(_MAGIC, record.kind, detail, record.device_usec, record.arrived_ns)
    return header + record.bodies.tobytes()


def read_record(stream: BinaryIO, body: np.dtype[np.void]) -> Record | None:
    """The next record, its bodies as `body`, or None at the end of the stream, be it in the middle of a record.

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
    payload = stream.read(detail * body.itemsize)
    if len(payload) < detail * body.itemsize:
        return None
    return Record(kind, 0, device_usec, arrived_ns, np.frombuffer(payload, body))
