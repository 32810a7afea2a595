"""Version 1 of the raw link: its messages, and bytes to messages. docs/remote.md is the specification.

Decoding is typed and bounded: whatever the bytes, the result is a checked message or a RemoteWireError, at a cost in
proportion to the message's own size. Raw frames become bytes in `frames.py` only.
"""

import re
import struct
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from skelanon.sensors.frame import MAX_BODIES
from skelanon.sensors.joints import JOINTS

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 32 * 1024
JOINTS_BYTES: Final = JOINTS * 3 * struct.calcsize("<f")
"""Of one body: float32, little-endian, row-major."""

U63 = Annotated[int, Meta(ge=0, le=0x7FFFFFFFFFFFFFFF)]
Slug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}\Z")]
Reason = Literal["busy", "version"]


class RemoteWireError(ValueError):
    """A message is not one of the raw link. The text says what is wrong and repeats no joint value."""


class Hello(Struct, frozen=True, tag_field="type", tag="hello"):
    """From a sender: here I am. Fields that other versions may add are passed over, so that they can be answered."""

    version: U63
    layout: Annotated[str, Meta(max_length=64)]
    sensor: Slug
    """The kind of sensor; nothing that tells one from another of its kind."""


class RawBody(Struct, frozen=True, forbid_unknown_fields=True):
    """One body of a frame: raw, and therefore without a repr of its values."""

    id: U63
    joints: Annotated[bytes, Meta(min_length=JOINTS_BYTES, max_length=JOINTS_BYTES)]
    tracking: Annotated[bytes, Meta(min_length=JOINTS, max_length=JOINTS)]

    def __repr__(self) -> str:
        return "RawBody(...)"


class RawFrame(Struct, frozen=True, tag_field="type", tag="frame", forbid_unknown_fields=True):
    """From a sender: what its sensor saw. `captured_ns` is of the sender's own clock."""

    sequence: U63
    captured_ns: U63
    discontinuity: bool
    bodies: Annotated[tuple[RawBody, ...], Meta(max_length=MAX_BODIES)]


class Alive(Struct, frozen=True, tag_field="type", tag="alive", forbid_unknown_fields=True):
    """From a sender that has no frame to send."""


class Fault(Struct, frozen=True, tag_field="type", tag="fault", forbid_unknown_fields=True):
    """From a sender: its sensor has failed."""


class Bye(Struct, frozen=True, tag_field="type", tag="bye", forbid_unknown_fields=True):
    """From a sender that ends."""


class Pong(Struct, frozen=True, tag_field="type", tag="pong", forbid_unknown_fields=True):
    """From a sender, at once: the ping's `ping_ns`, and the sender's clock."""

    ping_ns: U63
    now_ns: U63


class Who(Struct, frozen=True, tag_field="type", tag="who", forbid_unknown_fields=True):
    """From a node that has got anything but `hello` from somebody whom it does not follow: say hello."""


class Refuse(Struct, frozen=True, tag_field="type", tag="refuse", forbid_unknown_fields=True):
    """From a node, in answer to `hello`: not now (it follows another sender), or not this version."""

    reason: Reason


class Ping(Struct, frozen=True, tag_field="type", tag="ping", forbid_unknown_fields=True):
    """From a node, several times a second: the node's clock."""

    ping_ns: U63


class Ready(Struct, frozen=True, tag_field="type", tag="ready", forbid_unknown_fields=True):
    """From a node: send, with at most `window` frames that are not acknowledged."""

    window: Annotated[int, Meta(ge=1, le=1000)]


class Ack(Struct, frozen=True, tag_field="type", tag="ack", forbid_unknown_fields=True):
    """From a node: this frame and all before it have arrived."""

    sequence: U63


FromSender = Hello | RawFrame | Alive | Fault | Bye | Pong
FromNode = Who | Refuse | Ping | Ready | Ack
Control = Hello | Alive | Fault | Bye | Pong | Who | Refuse | Ping | Ready | Ack
"""Every message that holds no joints."""

_Message = TypeVar("_Message")
_QUOTED: Final = re.compile(
    r"(unknown field|[Ii]nvalid value) ([`']).*?\2(?= - at `\$[a-z0-9_.\[\]]*`\Z|\Z)", re.DOTALL
)
"""Where msgspec repeats words of the message, which go into no log."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_FROM_SENDER: Final[msgspec.msgpack.Decoder[FromSender]] = msgspec.msgpack.Decoder(FromSender)
_FROM_NODE: Final[msgspec.msgpack.Decoder[FromNode]] = msgspec.msgpack.Decoder(FromNode)


def encode(message: Control) -> bytes:
    """The bytes of a message that holds no joints. Raises TypeError for any other."""
    if not isinstance(message, Control):
        raise TypeError(f"a {type(message).__name__} is no message without joints")
    return _ENCODER.encode(message)


def decode_from_sender(data: bytes) -> FromSender:
    """Parse and check what a sender sends. Raises RemoteWireError."""
    message = _decode(_FROM_SENDER, data)
    if isinstance(message, RawFrame):
        _check_bodies(message.bodies)
    return message


def decode_from_node(data: bytes) -> FromNode:
    """Parse and check what a node sends. Raises RemoteWireError."""
    return _decode(_FROM_NODE, data)


def _decode(decoder: msgspec.msgpack.Decoder[_Message], data: bytes) -> _Message:
    if len(data) > MAX_MESSAGE_BYTES:
        raise RemoteWireError(f"{len(data)} bytes; a message has at most {MAX_MESSAGE_BYTES}")
    try:
        return decoder.decode(data)
    except UnicodeDecodeError:
        raise RemoteWireError("text that is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise RemoteWireError(_QUOTED.sub(r"\1", str(error))[:200]) from None
    except RecursionError:
        raise RemoteWireError("maps or arrays nested too deep") from None


def _check_bodies(bodies: tuple[RawBody, ...]) -> None:
    if len({body.id for body in bodies}) != len(bodies):
        raise RemoteWireError("two bodies of a frame have the same `id`")
    if b"".join(body.tracking for body in bodies).translate(None, b"\0\1\2"):
        raise RemoteWireError("`tracking` has a byte other than 0, 1 and 2")


def joints_of(bodies: tuple[RawBody, ...]) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """(M, 25, 3) float32, metres, camera axes; not finite where the sender's sensor was not."""
    return np.frombuffer(b"".join(body.joints for body in bodies), "<f4").reshape(-1, JOINTS, 3)


def tracking_of(bodies: tuple[RawBody, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """(M, 25) uint8, 0 not tracked, 1 inferred, 2 tracked."""
    return np.frombuffer(b"".join(body.tracking for body in bodies), np.uint8).reshape(-1, JOINTS)
