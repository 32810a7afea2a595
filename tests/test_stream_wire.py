"""The wire against bytes assembled by another MessagePack implementation, and against its specification."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from skelanon.export.bundle import Bundle
from skelanon.export.manifest import Manifest
from skelanon.sensors.frame import no_bodies
from skelanon.sensors.joints import JOINT_NAMES, PARENTS
from skelanon.stream import wire
from skelanon.stream.anonymous import _SEAL, AnonymousFrame, Body, State, without_bodies
from skelanon.stream.latency import Percentiles
from skelanon.stream.wire import (
    FrameMessage,
    SchemaMessage,
    StatusMessage,
    WireError,
    decode_frame,
    decode_schema,
    decode_status,
    encode_frame,
    encode_schema,
    encode_status,
)

GOLDEN = Path(__file__).parent / "golden" / "wire-1"
SPECIFICATION = (Path(__file__).parents[1] / "docs" / "wire.md").read_text("utf-8")

Map = dict[str, Any]


def joints(start: float) -> bytes:
    """Joint j at (start, j / 8, 2 - j / 16), written as the specification says."""
    return b"".join(struct.pack("<3f", start, j / 8, 2 - j / 16) for j in range(25))


HEADER = {"stream": "hall", "epoch": 0x0102030405060708}
TIMES = {"captured_ns": 1_700_000_000_000_000_000, "published_ns": 1_700_000_000_004_000_000}
BODIES = [
    {"id": 0xDEADBEEF, "joints": joints(0.5), "tracking": bytes([2] * 23 + [1, 0])},
    {"id": 5, "joints": joints(-0.5), "tracking": bytes([1] * 25)},
]
FRAME: Map = HEADER | {"sequence": 70_000} | TIMES | {"state": "ok", "bodies": BODIES, "dropped": 3}
EMPTY: Map = HEADER | {"sequence": 0} | TIMES | {"state": "empty", "bodies": [], "dropped": 0}
UNTRACKED: Map = FRAME | {"bodies": [body | {"tracking": b""} for body in BODIES]}
SCHEMA: Map = HEADER | {
    "wire": 1,
    "layout": "kinect-v2-25",
    "joint_names": list(JOINT_NAMES),
    "parents": list(PARENTS),
    "units": "m",
    "axes": "camera",
    "axes_description": "x to the sensor's left, y up, z away from the sensor",
    "root": "foot_anchored",
    "model_name": "template",
    "model_sha256": "0123456789abcdef" * 4,
    "audit": {"identity": {"accuracy": 0.25, "chance": 0.125}, "attackers": ["window", "clip"], "seeds": 3},
}
STATUS: Map = HEADER | {
    "state": "ok",
    "uptime_s": 12.5,
    "rate_in_hz": 30.0,
    "rate_out_hz": 29.75,
    "frames_in": 375,
    "frames_out": 371,
    "dropped": 4,
    "withheld": 1,
    "faults": 0,
    "latency_us": {"infer": {"p50": 45.5, "p95": 60.0, "p99": 120.25}},
}
MESSAGES = {"frame-ok": FRAME, "frame-empty": EMPTY, "frame-untracked": UNTRACKED, "schema": SCHEMA, "status": STATUS}

Decoder = Callable[[bytes], FrameMessage | SchemaMessage | StatusMessage]
DECODERS: dict[str, Decoder] = {"frame": decode_frame, "schema": decode_schema, "status": decode_status}


def decoder_of(name: str) -> Decoder:
    return DECODERS[name.partition("-")[0]]


def pack(message: object) -> bytes:
    return cast(bytes, msgpack.packb(message))


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.bin").read_bytes()


def anonymous(message: Map) -> AnonymousFrame:
    bodies = tuple(Body(body["id"], body["joints"], body["tracking"]) for body in message["bodies"])
    return AnonymousFrame(_SEAL, message["captured_ns"], cast(State, message["state"]), bodies)


def encode(message: Map) -> bytes:
    return encode_frame(
        anonymous(message),
        stream=message["stream"],
        epoch=message["epoch"],
        sequence=message["sequence"],
        published_ns=message["published_ns"],
        dropped=message["dropped"],
    )


def fields(message: object) -> object:
    """A decoded message as the plain values that it was packed from."""
    if isinstance(message, FrameMessage | SchemaMessage | StatusMessage | Body | Percentiles):
        return {name: fields(value) for name, value in structs.asdict(message).items()}
    if isinstance(message, list | tuple):
        return [fields(item) for item in message]
    if isinstance(message, dict):
        return {key: fields(value) for key, value in message.items()}
    return message


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_bytes_are_what_another_implementation_packs(name: str) -> None:
    assert golden(name) == pack(MESSAGES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_bytes_decode_to_their_fields(name: str) -> None:
    assert fields(decoder_of(name)(golden(name))) == MESSAGES[name]


@pytest.mark.parametrize("name", ["frame-ok", "frame-empty", "frame-untracked"])
def test_frames_encode_to_golden_bytes(name: str) -> None:
    assert encode(MESSAGES[name]) == golden(name)


def test_schema_encodes_to_golden_bytes() -> None:
    message = SchemaMessage(**(SCHEMA | {"joint_names": JOINT_NAMES, "parents": PARENTS}))
    assert encode_schema(message) == golden("schema")


def test_schema_of_a_bundle_says_what_its_manifest_says() -> None:
    manifest = Manifest(
        name="resnet-2", anonymizer="residual", bodies_per_sample=2, axes="normalised", root="model",
        parity_tolerance_m=1e-4, audit={"identity": 0.5},
    )  # fmt: skip
    message = decode_schema(encode_schema(wire.schema_of(Bundle(manifest, "ab" * 32, b""), "hall", 7)))
    assert fields(message) == SCHEMA | {
        "epoch": 7, "axes": "normalised", "axes_description": wire.AXES_DESCRIPTIONS["normalised"], "root": "model",
        "model_name": "resnet-2", "model_sha256": "ab" * 32, "audit": {"identity": 0.5},
    }  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_is_required(name: str) -> None:
    for key in MESSAGES[name]:
        with pytest.raises(WireError, match=f"missing required field `{key}`"):
            decoder_of(name)(pack({other: value for other, value in MESSAGES[name].items() if other != key}))


def test_status_encodes_to_golden_bytes() -> None:
    latency = {"infer": Percentiles(45.5, 60.0, 120.25)}
    assert encode_status(StatusMessage(**(STATUS | {"latency_us": latency}))) == golden("status")


def test_only_an_anonymous_frame_is_encoded() -> None:
    for other in (no_bodies(0), decode_frame(golden("frame-ok")), object(), None):
        with pytest.raises(TypeError, match="only an AnonymousFrame may be published, not a "):
            encode_frame(cast(Any, other), stream="a", epoch=0, sequence=0, published_ns=0, dropped=0)


def test_encoders_take_no_joints_but_those_of_an_anonymous_frame() -> None:
    encoders = [name for name in vars(wire) if name.startswith("encode")]
    assert sorted(encoders) == ["encode_frame", "encode_schema", "encode_status"]


def test_a_schema_that_subscribers_would_refuse_is_not_encoded() -> None:
    message = structs.replace(decode_schema(golden("schema")), audit={"rows": [0] * 5000})
    with pytest.raises(WireError, match="more than 4096 objects"):
        encode_schema(message)


def test_topics() -> None:
    assert wire.topic("hall-2_a", "frame") == b"skelanon/1/hall-2_a/frame"
    assert wire.parse_topic(b"skelanon/1/hall-2_a/status") == ("hall-2_a", "status")
    for name in ("", "Hall", "a/b", "-a", "a" * 65, "a\n", "é"):
        with pytest.raises(ValueError, match="stream name"):
            wire.topic(name, "frame")


@pytest.mark.parametrize(
    "topic", [b"", b"skelanon/2/a/frame", b"skelanon/1/a/frame\n", b"skelanon/1//frame", b"skelanon/1/a/b", b"\xff"]
)
def test_foreign_topics_are_refused(topic: bytes) -> None:
    with pytest.raises(WireError, match="not a topic of wire version 1"):
        wire.parse_topic(topic)


def test_unknown_fields_are_ignored() -> None:
    future = {"weather": {"rain": [1, 2.5, None, True, b"\0", "x"]}}
    for name, message in MESSAGES.items():
        decode = decoder_of(name)
        assert decode(pack(message | future)) == decode(golden(name))
    bodies = [body | {"mood": "good"} for body in BODIES]
    assert decode_frame(pack(FRAME | {"bodies": bodies})) == decode_frame(golden("frame-ok"))


def test_wider_integers_and_headers_than_needed_are_read() -> None:
    wide = golden("frame-empty").replace(b"\xa8sequence\x00", b"\xd9\x08sequence\xcf" + bytes(8))
    assert decode_frame(b"\xde\x00\x08" + wide[1:]) == decode_frame(golden("frame-empty"))


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=6),
)
def test_frames_come_back_as_they_went(epoch: int, sequence: int, dropped: int, ids: list[int]) -> None:
    bodies = [{"id": body, "joints": joints(body / 2**32), "tracking": b""} for body in ids]
    message = FRAME | {"epoch": epoch, "sequence": sequence, "dropped": dropped, "bodies": bodies}
    assert fields(decode_frame(encode(message))) == message


def test_a_frame_without_bodies_encodes() -> None:
    data = encode_frame(without_bodies(1, "fault"), stream="a", epoch=1, sequence=2, published_ns=3, dropped=4)
    assert msgpack.unpackb(data) == {
        "stream": "a", "epoch": 1, "sequence": 2, "captured_ns": 1, "published_ns": 3,
        "state": "fault", "bodies": [], "dropped": 4,
    }  # fmt: skip


def test_the_dump_in_the_specification_is_the_golden_message() -> None:
    dump = re.search(r"```hex\n(.*?)```", SPECIFICATION, re.DOTALL)
    assert dump is not None
    hexadecimal = "".join(line.partition("#")[0] for line in dump[1].splitlines())
    assert bytes.fromhex(hexadecimal) == golden("frame-empty")


def test_the_joint_table_in_the_specification_is_the_layout() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (-?\d+) \|$", SPECIFICATION, re.MULTILINE)
    assert rows == [(str(j), JOINT_NAMES[j], str(PARENTS[j])) for j in range(25)]


@pytest.mark.parametrize(("kind", "message"), [("frame", FRAME), ("schema", SCHEMA), ("status", STATUS)])
def test_every_field_is_in_the_specification(kind: str, message: Map) -> None:
    section = SPECIFICATION.partition(f"\n## `{kind}`")[2].partition("\n## ")[0]
    keys = {*message, *BODIES[0]} if kind == "frame" else set(message)
    assert keys == set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
