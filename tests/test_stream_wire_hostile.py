"""The wire against hostile bytes: what is wrong is refused, at no more cost than its size allows."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skelanon.sensors.joints import JOINT_NAMES, PARENTS
from skelanon.stream import wire
from skelanon.stream.wire import (
    FrameMessage,
    SchemaMessage,
    StatusMessage,
    WireError,
    decode_frame,
    decode_schema,
    decode_status,
)

Map = dict[str, Any]

FOLDER = Path(__file__).parent / "golden" / "wire-1"
GOLDEN = {
    name: (FOLDER / f"{name}.bin").read_bytes()
    for name in ("frame-ok", "frame-empty", "frame-untracked", "schema", "status")
}
"""Good messages, held to their fields by test_stream_wire.py; each test here spoils them."""
MESSAGES: dict[str, Map] = {name: msgpack.unpackb(data) for name, data in GOLDEN.items()}
FRAME, EMPTY, SCHEMA, STATUS = (MESSAGES[name] for name in ("frame-ok", "frame-empty", "schema", "status"))
BODIES = FRAME["bodies"]

Decoder = Callable[[bytes], FrameMessage | SchemaMessage | StatusMessage]
DECODERS: dict[str, Decoder] = {"frame": decode_frame, "schema": decode_schema, "status": decode_status}


def decoder_of(name: str) -> Decoder:
    return DECODERS[name.partition("-")[0]]


def pack(message: object) -> bytes:
    return cast(bytes, msgpack.packb(message))


def body(**changes: object) -> Map:
    return FRAME | {"bodies": [BODIES[0] | changes]}


WRONG: dict[str, tuple[str, object, str]] = {
    "not a map": ("frame", [1, 2], "Expected `object`"),
    "bool for int": ("frame", FRAME | {"sequence": True}, "Expected `int`, got `bool`"),
    "float for int": ("frame", FRAME | {"sequence": 1.0}, "Expected `int`, got `float`"),
    "negative sequence": ("frame", FRAME | {"sequence": -1}, "Expected `int` >= 0"),
    "epoch of 64 bits": ("frame", FRAME | {"epoch": 2**63}, r"Expected `int` <= 9223372036854775807"),
    "dropped of 33 bits": ("frame", FRAME | {"dropped": 2**32}, "Expected `int` <= 4294967295"),
    "body id of 33 bits": ("frame", body(id=2**32), "Expected `int` <= 4294967295"),
    "unknown state": ("frame", FRAME | {"state": "raw"}, "Invalid enum value 'raw'"),
    "stream name": ("frame", FRAME | {"stream": "Hall"}, "Expected `str` matching regex"),
    "stream name with line end": ("frame", FRAME | {"stream": "hall\n"}, "Expected `str` matching regex"),
    "long stream name": ("frame", FRAME | {"stream": "a" * 65}, "Expected `str` matching regex"),
    "joints too short": ("frame", body(joints=bytes(299)), "Expected `bytes` of length >= 300"),
    "joints too long": ("frame", body(joints=bytes(301)), "Expected `bytes` of length <= 300"),
    "joints as text": ("frame", body(joints="0" * 300), "Expected `bytes`, got `str`"),
    "joints as list": ("frame", body(joints=[0.0] * 75), "Expected `bytes`, got `array`"),
    "NaN joint": ("frame", body(joints=struct.pack("<75f", *[0.0] * 74, float("nan"))), "`joints` are not finite"),
    "infinite joints": (
        "frame",
        body(joints=struct.pack("<75f", float("inf"), float("-inf"), *[0.0] * 73)),
        "`joints` are not finite",
    ),
    "short tracking": ("frame", body(tracking=bytes(24)), "`tracking` has 25 bytes"),
    "some tracking": ("frame", FRAME | {"bodies": [BODIES[0], BODIES[1] | {"tracking": b""}]}, "or in none"),
    "tracking of 3": ("frame", body(tracking=bytes([3] * 25)), "other than 0, 1 and 2"),
    "same id twice": ("frame", FRAME | {"bodies": [BODIES[0], BODIES[0]]}, "same `id`"),
    "bodies in an empty room": ("frame", FRAME | {"state": "empty"}, "has no bodies; this one has 2"),
    "bodies in a fault": ("frame", FRAME | {"state": "fault"}, "has no bodies; this one has 2"),
    "256 bodies": (
        "frame",
        FRAME | {"bodies": [BODIES[0] | {"id": i} for i in range(256)]},
        "Expected `array` of length <= 255",
    ),
    "other joint order": ("schema", SCHEMA | {"joint_names": [*JOINT_NAMES[::-1]]}, "not those of layout"),
    "parents in a circle": ("schema", SCHEMA | {"parents": [1, *PARENTS[1:]]}, "not those of layout"),
    "other layout": ("schema", SCHEMA | {"layout": "coco-17"}, "Invalid enum value"),
    "wire version": ("schema", SCHEMA | {"wire": 2}, "Invalid enum value 2"),
    "units": ("schema", SCHEMA | {"units": "mm"}, "Invalid enum value"),
    "digest": ("schema", SCHEMA | {"model_sha256": "g" * 64}, "matching regex"),
    "huge name": ("schema", SCHEMA | {"model_name": "m" * 65}, "matching regex"),
    "name for the terminal": ("schema", SCHEMA | {"model_name": "\x1b[2J"}, "matching regex"),
    "NaN in the audit": ("schema", SCHEMA | {"audit": {"a": [float("nan")]}}, "a number that is not finite"),
    "extension": ("schema", SCHEMA | {"audit": {"a": msgpack.ExtType(5, b"x")}}, "an extension"),
    "timestamp": ("schema", SCHEMA | {"audit": {"a": msgpack.Timestamp(1)}}, "an extension"),
    "number as key": ("schema", SCHEMA | {"audit": {"a": {1: 2}}}, "a key that is not a string"),
    "infinite rate": ("status", STATUS | {"rate_in_hz": float("inf")}, "a number that is not finite"),
    "negative rate": ("status", STATUS | {"rate_in_hz": -1.0}, "Expected `float` >= 0"),
    "17 stages": ("status", STATUS | {"latency_us": {str(i): {} for i in range(17)}}, "Expected `object` of length"),
    "status as frame": ("frame", STATUS, "Invalid enum value|missing required field"),
    "NaN in an unknown field": ("frame", FRAME | {"new": float("nan")}, "a number that is not finite"),
}


@pytest.mark.parametrize(("kind", "message", "error"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(kind: str, message: object, error: str) -> None:
    with pytest.raises(WireError, match=error):
        DECODERS[kind](pack(message))


def test_the_largest_float32_joints_are_finite() -> None:
    largest = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
    assert decode_frame(pack(body(joints=struct.pack("<75f", *[largest] * 75)))).bodies


def test_the_most_bodies_fit_into_a_message() -> None:
    most = FRAME | {"bodies": [BODIES[0] | {"id": 2**32 - 1 - i} for i in range(wire.MAX_BODIES)]}
    assert len(decode_frame(pack(most)).bodies) == 255
    assert len(decode_frame(pack(most | {"unknown": 1})).bodies) == 255  # and within MAX_ITEMS when walked


@pytest.mark.parametrize("name", MESSAGES)
def test_every_truncation_and_any_trailing_byte_is_refused(name: str) -> None:
    data, decode = GOLDEN[name], decoder_of(name)
    for size in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:size])
    for more in (b"\x00", b"\xc0", data):
        with pytest.raises(WireError):
            decode(data + more)


def test_a_key_twice_is_refused_on_every_level() -> None:
    frame, status = GOLDEN["frame-empty"], GOLDEN["status"]
    twice = bytes([frame[0] + 1]) + frame[1:] + pack("sequence") + pack(1)
    long_key = bytes([frame[0] + 1]) + frame[1:] + b"\xd9\x08sequence" + pack(1)
    in_body = GOLDEN["frame-untracked"].replace(b"\x83\xa2id\x05", b"\x84\xa2id\x06\xa2id\x05")
    in_map = status.replace(b"\x83\xa3p50", b"\x84\xa3p50\x01\xa3p50")
    in_unknown = bytes([frame[0] + 1]) + frame[1:] + pack("new") + b"\x82\xa1a\x01\xa1a\x01"
    for kind, data in [("frame", twice), ("frame", long_key), ("frame", in_body), ("status", in_map)]:
        with pytest.raises(WireError, match="a key that occurs twice"):
            DECODERS[kind](data)
    with pytest.raises(WireError, match="a key that occurs twice"):
        decode_frame(in_unknown)


HUGE = [
    bytes([code]) + size
    for code, size in [
        (0xDD, b"\xff\xff\xff\xff"),
        (0xDF, b"\xff\xff\xff\xff"),
        (0xC6, b"\xff\xff\xff\xff"),
        (0xDB, b"\xff\xff\xff\xff"),
        (0xC9, b"\xff\xff\xff\xff"),
        (0xDC, b"\xff\xff"),
        (0xDE, b"\xff\xff"),
    ]
]
NESTS = [b"\x91" * 100_000, b"\x81\xa1a" * 40_000, b"\x91" * 500, b"\xdc\xff\xff" * 40_000, b"\x81\x91" * 50_000]
FLOODS = [b"\xdd\x00\x01\xff\x00" + b"\x80" * 0x1FF00, b"\xdd\x00\x01\xff\x00" + b"\xa0" * 0x1FF00]


@pytest.mark.parametrize("bomb", [*HUGE, *NESTS, *FLOODS], ids=lambda bomb: f"{bomb[:6].hex()}-{len(bomb)}")
def test_bombs_cost_no_more_than_their_size_allows(bomb: bytes) -> None:
    """Peak memory is bounded by the message's size and a constant: 4096 objects of a hundred bytes."""
    for name, message in MESSAGES.items():
        decode = decoder_of(name)
        keys = [key for key, value in message.items() if not isinstance(value, str)]
        for key in [*keys, "unknown"]:
            # The field in question comes last, so that its value may swallow all that follows.
            rest = {other: value for other, value in message.items() if other != key}
            data = bytes([0x80 | len(rest) + 1]) + pack(rest)[1:] + pack(key) + bomb
            tracemalloc.start()
            with pytest.raises(WireError):
                decode(data)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2 * len(data) + 500_000, (name, key)


def test_nesting_within_the_limit_is_read() -> None:
    nested: Any = 1
    for _ in range(wire.MAX_DEPTH - 1):
        nested = [nested]
    assert decode_frame(pack(EMPTY | {"new": nested})).state == "empty"
    with pytest.raises(WireError, match="nested deeper than 16"):
        decode_frame(pack(EMPTY | {"new": [nested]}))


def test_messages_over_the_limit_are_refused_unread() -> None:
    for decode in DECODERS.values():
        with pytest.raises(WireError, match="131073 bytes; a message has at most 131072"):
            decode(b"\xff" * (wire.MAX_MESSAGE_BYTES + 1))


def test_errors_repeat_no_joint_value() -> None:
    secret = struct.pack("<75f", *[1.2345678] * 74, float("nan"))
    for message in (body(joints=secret), body(joints=secret + b"x"), body(joints=secret[:-1]), body(id=secret)):
        with pytest.raises(WireError) as raised:
            decode_frame(pack(message))
        assert "1.23" not in str(raised.value)
        assert repr(secret[:4])[2:-1] not in str(raised.value)
        assert raised.value.__context__ is None or raised.value.__suppress_context__


def refuse_or_read(data: bytes) -> None:
    for decode in DECODERS.values():
        try:
            decode(data)
        except WireError:
            continue


@given(st.binary(max_size=400))
@example(b"\xc1")
@example(b"")
def test_random_bytes_are_refused(data: bytes) -> None:
    for decode in DECODERS.values():
        with pytest.raises(WireError):
            decode(data)


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.binary()
KEYS = st.text(max_size=4) | st.integers(0, 9)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_a_field_of_any_value_is_refused_or_read(name: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([*MESSAGES[name], "unknown"]))
    refuse_or_read(pack(MESSAGES[name] | {key: data.draw(VALUES)}))


@settings(max_examples=1000)
@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_mutated_messages_are_refused_or_read(name: str, data: st.DataObject) -> None:
    mutated = bytearray(GOLDEN[name])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated)))
        mutated[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6) | st.sampled_from(HUGE))
    refuse_or_read(bytes(mutated))


@given(st.sampled_from(["frame-ok", "frame-empty"]), st.integers(0), st.data())
def test_what_is_read_after_a_flipped_byte_keeps_every_promise(name: str, position: int, data: st.DataObject) -> None:
    mutated = bytearray(GOLDEN[name])
    mutated[position % len(mutated)] = data.draw(st.integers(0, 255))
    try:
        message = decode_frame(bytes(mutated))
    except WireError:
        return
    values = [value for body in message.bodies for value in struct.unpack("<75f", body.joints)]
    assert all(abs(value) < float("inf") for value in values)
    assert all(set(body.tracking) <= {0, 1, 2} and len(body.tracking) in (0, 25) for body in message.bodies)
    assert 0 <= message.sequence < 2**63
    assert message.state == "ok" or not message.bodies
