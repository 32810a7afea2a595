"""Raw frames as bytes: the one place where that happens, for the encrypted link to a node and nothing else.

Imported by `sender.py` alone, which `skelanon capture` alone imports; a test reads every file.
"""

from typing import Final

import msgspec
import numpy as np

from skelanon.sensors.frame import BodyFrame

from .wire import RawBody, RawFrame

_ENCODER: Final = msgspec.msgpack.Encoder()
_ID_MASK: Final = (1 << 63) - 1


def encode_frame(frame: BodyFrame, *, sequence: int, captured_ns: int) -> bytes:
    """The bytes of a `frame` message. captured_ns: time of capture on the sender's own clock."""
    joints = np.ascontiguousarray(frame.joints, "<f4")
    bodies = [
        RawBody(track_id & _ID_MASK, body.tobytes(), tracking.tobytes())
        for track_id, body, tracking in zip(frame.track_ids, joints, frame.tracking, strict=True)
    ]
    return _ENCODER.encode(RawFrame(sequence, captured_ns, frame.discontinuity, tuple(bodies)))
