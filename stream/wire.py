"""Version 1 of the wire: topics and messages as bytes, and back. docs/wire.md is the specification.

Encoding takes an AnonymousFrame and nothing else that has joints. Decoding is typed and bounded: whatever the bytes,
the result is a checked message or a WireError, at a cost in proportion to the message's own size.
"""

import re
import struct
from math import isfinite
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from skelanon.export.bundle import Bundle
from skelanon.export.manifest import Axes
from skelanon.sensors.joints import JOINT_NAMES, JOINTS, LAYOUT, PARENTS

from .anonymous import TRACKING_BYTES, AnonymousFrame, Body, State
from .latency import Percentiles

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 128 * 1024
MAX_BODIES: Final = 255
MAX_ITEMS: Final = 4096
"""MessagePack objects in one message, keys and values counted."""
MAX_DEPTH: Final = 16
"""Maps and arrays inside each other."""

AXES_DESCRIPTIONS: Final[dict[Axes, str]] = {
    "camera": "x to the sensor's left, y up, z away from the sensor; origin at the sensor",
    "normalised": (
        "origin at the first body's SpineMid in each frame; turned by one rotation, so that in the first frame of a "
        "track its bone SpineBase-SpineMid is +z and ShoulderLeft-ShoulderRight lies along +x"
    ),
}

Kind = Literal["frame", "schema", "status"]
StatusState = Literal["ok", "fault", "stopped", "waiting"]

U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
U63 = Annotated[int, Meta(ge=0, le=0x7FFFFFFFFFFFFFFF)]
Stream = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
Slug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z")]
"""A name that can be shown anywhere as it is."""
Name = Annotated[str, Meta(max_length=64)]
NotNegative = Annotated[float, Meta(ge=0)]

_STREAM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TOPIC: Final = re.compile(rb"skelanon/1/([a-z0-9][a-z0-9_-]{0,63})/(frame|schema|status)")


class WireError(ValueError):
    """A message is not one of wire version 1. The text says what is wrong and repeats no joint value."""


class FrameMessage(Struct, frozen=True, kw_only=True):
    """One frame of one stream; fields as in docs/wire.md, section `frame`."""

    stream: Stream
    epoch: U63
    sequence: U63
    captured_ns: U63
    published_ns: U63
    state: State
    bodies: Annotated[tuple[Body, ...], Meta(max_length=MAX_BODIES)]
    dropped: U32


class SchemaMessage(Struct, frozen=True, kw_only=True):
    """What the joints of a stream mean; fields as in docs/wire.md, section `schema`."""

    stream: Stream
    epoch: U63
    wire: Literal[1]
    layout: Literal["kinect-v2-25"]
    joint_names: Annotated[tuple[Name, ...], Meta(max_length=JOINTS)]
    parents: Annotated[tuple[Annotated[int, Meta(ge=-1, lt=JOINTS)], ...], Meta(max_length=JOINTS)]
    units: Literal["m"]
    axes: Axes
    axes_description: Annotated[str, Meta(max_length=500)]
    root: Slug
    model_name: Slug
    model_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    audit: dict[str, Any] | None


class StatusMessage(Struct, frozen=True, kw_only=True):
    """How a stream is doing; fields as in docs/wire.md, section `status`."""

    stream: Stream
    epoch: U63
    state: StatusState
    uptime_s: NotNegative
    rate_in_hz: NotNegative
    rate_out_hz: NotNegative
    frames_in: U63
    frames_out: U63
    dropped: U63
    withheld: U63
    faults: U63
    latency_us: Annotated[dict[Name, Percentiles], Meta(max_length=16)]


_Message = TypeVar("_Message", FrameMessage, SchemaMessage, StatusMessage)

_ENCODER: Final = msgspec.msgpack.Encoder()
_FRAME: Final = msgspec.msgpack.Decoder(FrameMessage)
_SCHEMA: Final = msgspec.msgpack.Decoder(SchemaMessage)
_STATUS: Final = msgspec.msgpack.Decoder(StatusMessage)


def topic(stream: str, kind: Kind) -> bytes:
    """First part of a message, as in `skelanon/1/hall/frame`. Raises ValueError for an impossible stream name."""
    if not _STREAM.fullmatch(stream):
        raise ValueError(f"stream name {stream!r}: use 1 to 64 of a-z, 0-9, _ and -, the first a letter or digit")
    return f"skelanon/{VERSION}/{stream}/{kind}".encode()


def parse_topic(data: bytes) -> tuple[str, Kind]:
    """Stream and kind of a topic. Raises WireError."""
    match = _TOPIC.fullmatch(data)
    if match is None:
        raise WireError("not a topic of wire version 1 (`skelanon/1/<stream>/frame`, `/schema` or `/status`)")
    kind: Any = match[2].decode()
    return match[1].decode(), kind


def encode_frame(
    frame: AnonymousFrame, *, stream: str, epoch: int, sequence: int, published_ns: int, dropped: int
) -> bytes:
    """Second part of a `frame` message. Raises TypeError for anything but an AnonymousFrame."""
    if type(frame) is not AnonymousFrame:
        raise TypeError(f"only an AnonymousFrame may be published, not a {type(frame).__name__}")
    return _ENCODER.encode(
        FrameMessage(
            stream=stream,
            epoch=epoch,
            sequence=sequence,
            captured_ns=frame.captured_ns,
            published_ns=published_ns,
            state=frame.state,
            bodies=frame.bodies,
            dropped=dropped,
        )
    )


def schema_of(bundle: Bundle, stream: str, epoch: int) -> SchemaMessage:
    """What a stream that a bundle anonymizes says of its joints."""
    manifest = bundle.manifest
    return SchemaMessage(
        stream=stream,
        epoch=epoch,
        wire=VERSION,
        layout=LAYOUT,
        joint_names=JOINT_NAMES,
        parents=PARENTS,
        units="m",
        axes=manifest.axes,
        axes_description=AXES_DESCRIPTIONS[manifest.axes],
        root=manifest.root,
        model_name=manifest.name,
        model_sha256=bundle.sha256,
        audit=manifest.audit,
    )


def encode_schema(message: SchemaMessage) -> bytes:
    """Second part of a `schema` message. Raises WireError for one that subscribers would refuse (a huge audit)."""
    data = _ENCODER.encode(message)
    decode_schema(data)
    return data


def encode_status(message: StatusMessage) -> bytes:
    """Second part of a `status` message."""
    return _ENCODER.encode(message)


def decode_frame(data: bytes) -> FrameMessage:
    """Parse and check the second part of a `frame` message. Raises WireError."""
    message = _decode(_FRAME, data)
    # What encodes to the same bytes holds nothing unknown and nothing twice; other bytes are walked through.
    if _ENCODER.encode(message) != data:
        _Walk(data).value()
    _check_bodies(message)
    return message


def decode_schema(data: bytes) -> SchemaMessage:
    """Parse and check the second part of a `schema` message. Raises WireError."""
    _Walk(data).value()
    message = _decode(_SCHEMA, data)
    if message.joint_names != JOINT_NAMES or message.parents != PARENTS:
        raise WireError(f"`joint_names` or `parents` are not those of layout {LAYOUT}")
    return message


def decode_status(data: bytes) -> StatusMessage:
    """Parse and check the second part of a `status` message. Raises WireError."""
    _Walk(data).value()
    return _decode(_STATUS, data)


def _decode(decoder: msgspec.msgpack.Decoder[_Message], data: bytes) -> _Message:
    _check_size(data)
    try:
        return decoder.decode(data)
    except UnicodeDecodeError:
        raise WireError("text that is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise WireError(str(error)[:200]) from None
    except RecursionError:
        raise WireError(f"maps or arrays nested deeper than {MAX_DEPTH}") from None


def _check_size(data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"{len(data)} bytes; a message has at most {MAX_MESSAGE_BYTES}")


def _check_bodies(message: FrameMessage) -> None:
    bodies = message.bodies
    if not bodies:
        return
    if message.state != "ok":
        raise WireError(f"a frame in state {message.state!r} has no bodies; this one has {len(bodies)}")
    if len({body.id for body in bodies}) != len(bodies):
        raise WireError("two bodies of a frame have the same `id`")
    tracked = len(bodies[0].tracking)
    for body in bodies:
        # A sum of finite float32 in doubles is finite, and any other number stays in it: faster than 75 checks.
        if not isfinite(sum(_JOINTS.unpack(body.joints))):
            raise WireError("`joints` are not finite")
        if len(body.tracking) != tracked or tracked not in (0, TRACKING_BYTES):
            raise WireError(f"`tracking` has {TRACKING_BYTES} bytes in every body of a frame, or in none")
        if body.tracking.translate(None, b"\0\1\2"):
            raise WireError("`tracking` has a byte other than 0, 1 and 2")


_JOINTS: Final = struct.Struct(f"<{JOINTS * 3}f")
_FIXED: Final = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
"""Bytes that follow nil, false, true, uint 8-64 and int 8-64."""
_FLOAT: Final = {0xCA: struct.Struct(">f"), 0xCB: struct.Struct(">d")}
_LENGTH: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""Bytes of the length of bin, str, array and map 8-32."""
_STR: Final = {*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB}
_ARRAY: Final = {*range(0x90, 0xA0), 0xDC, 0xDD}
_MAP: Final = {*range(0x80, 0x90), 0xDE, 0xDF}


class _Walk:
    """One pass over a message, for what a typed decoder lets through.

    It refuses: a key twice or not a string, an extension type, a number that is not finite, too many objects, too
    deep nesting. Truncation inside a value and trailing bytes are left to the decoder.
    Source: the MessagePack specification, section `Formats`.
    """

    def __init__(self, data: bytes) -> None:
        _check_size(data)
        self._data = data
        self._at = 0
        self._items = 0

    def value(self, depth: int = 0) -> None:
        """Step over one value. Raises WireError."""
        code = self._next_code()
        if code in _MAP:
            self._map(self._length(code, 0x0F), depth + 1)
        elif code in _ARRAY:
            self._check_depth(depth + 1)
            for _ in range(self._length(code, 0x0F)):
                self.value(depth + 1)
        elif code in _FLOAT:
            self._float(_FLOAT[code])
        elif code in _FIXED:
            self._at += _FIXED[code]
        elif code in _STR or code in _LENGTH:
            size = self._length(code, 0x1F)
            self._at += size
        elif 0x80 <= code < 0xE0:
            raise WireError("an extension or undefined type")

    def _map(self, pairs: int, depth: int) -> None:
        self._check_depth(depth)
        keys: set[bytes] = set()
        for count in range(1, pairs + 1):
            keys.add(self._key())
            if len(keys) < count:
                raise WireError("a key that occurs twice")
            self.value(depth)

    def _key(self) -> bytes:
        code = self._next_code()
        if code not in _STR:
            raise WireError("a key that is not a string")
        size = self._length(code, 0x1F)
        self._at += size
        return self._data[self._at - size : self._at]

    def _float(self, number: struct.Struct) -> None:
        raw = self._data[self._at : self._at + number.size]
        self._at += number.size
        if len(raw) == number.size and not isfinite(number.unpack(raw)[0]):
            raise WireError("a number that is not finite")

    def _next_code(self) -> int:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise WireError(f"more than {MAX_ITEMS} objects")
        if self._at >= len(self._data):
            raise WireError("the message is truncated")
        self._at += 1
        return self._data[self._at - 1]

    def _length(self, code: int, mask: int) -> int:
        """The length that belongs to a code: the low bits of a short one, or the bytes after it."""
        size = _LENGTH.get(code)
        if size is None:
            return code & mask
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise WireError(f"maps or arrays nested deeper than {MAX_DEPTH}")
