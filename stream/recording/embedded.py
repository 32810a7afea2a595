"""The wire's schema, as it is embedded in every recording: enough to read one without skelanon.

One JSON Schema for each kind of message, made from the types that decode it, with the meaning of each field. MCAP's
registry has `msgpack` for messages and `jsonschema` for schemas; what is `bin` is said in words.
"""

from typing import Any, Final

import msgspec

from skelanon.stream.received import Message
from skelanon.stream.wire import VERSION, FrameMessage, Kind, SchemaMessage, StatusMessage

FORMAT: Final = 1
"""Version of what a recording holds beside the wire's messages."""
PROFILE: Final = "skelanon"
MESSAGE_ENCODING: Final = "msgpack"
SCHEMA_ENCODING: Final = "jsonschema"

KINDS: Final[dict[type[Message], Kind]] = {FrameMessage: "frame", SchemaMessage: "schema", StatusMessage: "status"}
_TYPES: Final[dict[Kind, type[Message]]] = {kind: type_ for type_, kind in KINDS.items()}

_ABOUT: Final[dict[Kind, str]] = {
    "frame": "One frame of anonymous skeletons; what its joints mean stands in the stream's schema messages.",
    "schema": "What the joints of a stream mean.",
    "status": "How a stream is doing; counts begin with the epoch.",
}
_MAP: Final = "One MessagePack map with string keys, as published by skelanon, wire version 1. Ignore unknown keys."
_FIELDS: Final = {
    "stream": "name of the stream, as in the topic skelanon/1/<stream>/<kind>",
    "epoch": "random, new each time the node starts",
    "sequence": "one more for each frame published; a jump means frames that were not received",
    "captured_ns": "when the sensor captured the frame, nanoseconds since 1970-01-01 UTC, the node's clock",
    "published_ns": "when the node published it, nanoseconds since 1970-01-01 UTC, the node's clock",
    "state": "a frame is ok, empty (nobody was seen) or fault (withheld); a stream is ok, waiting, fault or stopped",
    "bodies": "in no meaningful order: go by id",
    "dropped": "frames that the node skipped: before this one, or in the epoch so far",
    "id": "random; the same from frame to frame while the body is followed; says nothing about the person",
    "joints": "MessagePack bin of 300 bytes: 25 joints x (x, y, z), little-endian IEEE 754 float32, row-major, metres",
    "tracking": "MessagePack bin of 25 bytes, 0 not tracked, 1 inferred, 2 tracked; or of 0 bytes: not published",
    "joint_names": "in the order of the joints",
    "parents": "of each joint its parent's index; -1: the root",
    "axes": "camera: x to the sensor's left, y up, z away from it; normalised: as axes_description says",
    "model_sha256": "digest of the anonymizing model's file",
    "audit": "what an attack on the model's output still recovers; nil: never audited",
    "latency_us": "microseconds that the newest frames took in each stage of the node",
}


def embedded_schema(kind: Kind) -> tuple[str, bytes]:
    """Name and content of the MCAP schema record for messages of a kind."""
    schema: Any = msgspec.json.schema(_TYPES[kind])
    for definition in schema["$defs"].values():
        for name, content in definition.get("properties", {}).items():
            if "contentEncoding" in content:  # msgspec means base64 in JSON; JSON Schema has no word for `bin`
                content.clear()
            if "pattern" in content:
                content["pattern"] = content["pattern"].replace(r"\Z", "$")
            if name in _FIELDS:
                content["description"] = _FIELDS[name]
    # Readers of MCAP expect an object at the top, not a reference to one.
    root = schema["$defs"].pop(_TYPES[kind].__name__)
    root |= {"description": f"{_ABOUT[kind]} {_MAP}", "$defs": schema["$defs"]}
    return f"skelanon.{VERSION}.{kind}", msgspec.json.encode(root)
