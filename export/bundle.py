"""One ONNX file with its manifest inside: the only thing that passes from training to streaming.

Read without onnx or onnxruntime: the outermost level of the protobuf is walked by hand (onnx.proto: ModelProto,
field 14 `metadata_props`, repeated StringStringEntryProto with 1 = key and 2 = value).
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from .errors import BundleError
from .manifest import Manifest, manifest_from_json, manifest_to_json

MANIFEST_KEY: Final = "skelanon.manifest"
RECOGNIZER_KEY: Final = "skelanon.recognizer"
"""What a recognizer has in place of an anonymizer's manifest, so that nothing takes the one for the other."""
DIGEST_KEY: Final = "skelanon.digest"
MAX_BYTES: Final = 1 << 30
_NO_BUNDLE: Final = "not a skelanon bundle: it has no manifest; make one with `skelanon export`"
_WRONG_KIND: Final = {
    MANIFEST_KEY: "this bundle is an anonymizer; a recognizer is made by `skelanon export` from a classifier's run",
    RECOGNIZER_KEY: "this is a recognizer, which anonymizes nothing: give a bundle of an anonymizer",
}
_METADATA_FIELD: Final = 14
_EXTERNAL_DATA_FIELD: Final = 13
_DATA_LOCATION_FIELD: Final = 14
_MESSAGES: Final = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Every way from a ModelProto to a TensorProto: the fields of each message that lead on, and to what."""

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle: `model` is the whole ONNX file, `sha256` identifies it on the wire and in logs."""

    manifest: Manifest
    sha256: str
    model: bytes = field(repr=False)


def default_bundle_path() -> Path:
    """The bundle that comes with skelanon: the Template anonymizer."""
    return Path(str(resources.files("skelanon.export") / "template.onnx"))


def read_bundle(path: str | os.PathLike[str], *, sha256: str | None = None) -> Bundle:
    """Read and verify a bundle. Raises BundleError: unreadable, not a bundle, edited, future, not the pinned one."""
    return Bundle(*read_sealed(path, MANIFEST_KEY, manifest_from_json, sha256=sha256))


def read_sealed(
    path: str | os.PathLike[str], key: str, parse: Callable[[str], Parsed], *, sha256: str | None = None
) -> tuple[Parsed, str, bytes]:
    """Read and verify a sealed file: what its manifest under `key` says, its sha256, all of it. Raises BundleError."""
    try:
        with open(path, "rb") as file:
            model = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(f"cannot read the bundle: {error.strerror}") from error
    if len(model) > MAX_BYTES:
        raise BundleError(f"the bundle is larger than {MAX_BYTES} bytes")
    actual = hashlib.sha256(model).hexdigest()
    if sha256 is not None and actual != sha256:
        raise BundleError(f"the bundle's sha256 is {actual}, but `model.sha256` asks for {sha256}")
    try:
        return _verified_manifest(model, key, parse), actual, model
    except (IndexError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError("not an ONNX file") from error


def seal(model_without_metadata: bytes, manifest: Manifest) -> bytes:
    """Append the manifest and a digest over graph and manifest to a serialised ModelProto without metadata."""
    return seal_text(model_without_metadata, MANIFEST_KEY, manifest_to_json(manifest))


def with_audit(bundle: Bundle, summary: dict[str, Any] | None) -> Bundle:
    """The same graph with another audit summary in its manifest, or with none; its sha256 is another one."""
    graph, _ = _split(bundle.model)
    manifest = msgspec.structs.replace(bundle.manifest, audit=summary)
    model = seal(graph, manifest)
    return Bundle(manifest, hashlib.sha256(model).hexdigest(), model)


def seal_text(graph: bytes, key: str, manifest: str) -> bytes:
    """Append a manifest under a key, and the digest over both."""
    text = manifest.encode()
    digest = hashlib.sha256(hashlib.sha256(graph).digest() + text).hexdigest()
    entries = [(key.encode(), text), (DIGEST_KEY.encode(), digest.encode())]
    return graph + b"".join(
        _length_delimited(_METADATA_FIELD, _length_delimited(1, key) + _length_delimited(2, value))
        for key, value in entries
    )


def _verified_manifest(model: bytes, key: str, parse: Callable[[str], Parsed]) -> Parsed:
    """Raises BundleError; IndexError, UnicodeDecodeError or RecursionError where it is not ONNX at all."""
    graph, metadata = _split(model)
    if key not in metadata:
        raise BundleError(_WRONG_KIND.get(next(iter(metadata), ""), _NO_BUNDLE))
    manifest = parse(metadata[key])
    if model != seal_text(graph, key, metadata[key]):
        raise BundleError("the bundle was edited after it was exported (its digest does not match); export it again")
    if _refers_to_files(graph, "model"):
        raise BundleError("the bundle keeps weights in other files; it must be one file: export it again")
    return manifest


def _split(model: bytes) -> tuple[bytes, dict[str, str]]:
    """The model without its metadata, and the metadata."""
    graph: list[bytes] = []
    metadata: dict[str, str] = {}
    for number, start, value, end in _fields(model):
        if number != _METADATA_FIELD:
            graph.append(model[start:end])
            continue
        entry = {n: entry_value for n, _, entry_value, _ in _fields(value)}
        key, text = entry.get(1, b"").decode(), entry.get(2, b"").decode()
        if key in metadata:
            raise BundleError("the bundle has an entry twice in its metadata; export it again")
        metadata[key] = text
    return b"".join(graph), metadata


def _refers_to_files(message: bytes, kind: str) -> bool:
    """Whether a tensor lies in another file, which ONNX Runtime would read: any file of the working folder."""
    if kind == "tensor":
        return any(
            number == _EXTERNAL_DATA_FIELD or (number == _DATA_LOCATION_FIELD and value != b"\0")
            for number, _, value, _ in _fields(message)
        )
    inner = _MESSAGES[kind]
    return any(number in inner and _refers_to_files(value, inner[number]) for number, _, value, _ in _fields(message))


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(field number, start, value, end) of each field of a protobuf message; IndexError where it is malformed."""
    position = 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position)
        wire_type, size = tag & 7, 0
        if wire_type == 0:
            _, end = _varint(data, position)
        else:
            if wire_type == 2:
                size, position = _varint(data, position)
            elif wire_type in (1, 5):
                size = 8 if wire_type == 1 else 4
            else:
                raise IndexError(f"wire type {wire_type}")
            end = position + size
        if end > len(data):
            raise IndexError("field longer than the message")
        yield tag >> 3, start, data[position:end], end
        position = end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError("varint longer than 64 bits")


def _length_delimited(number: int, value: bytes) -> bytes:
    return _encode_varint(number << 3 | 2) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
