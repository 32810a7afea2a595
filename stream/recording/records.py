"""Reads the records of an MCAP file that may be cut off, damaged or hostile. Source: https://mcap.dev/spec

The package `mcap` reads good files; it trusts lengths and compressed sizes, and gives up at the first wrong byte. Here
nothing costs more than MAX_RECORD_BYTES, and what cannot be read is passed over and counted.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from .embedded import MESSAGE_ENCODING
from .errors import RecordError

MAGIC: Final = b"\x89MCAP0\r\n"
MAX_RECORD_BYTES: Final = 8 << 20
"""Of a record, and of a chunk unpacked. A Recorder's have some 100 kB, other tools' up to 4 MB."""
MAX_RATIO: Final = 256
"""Of a chunk unpacked to it packed, beyond the first 16 KiB: skeletons have 1.3, and a bomb's cost is time, too."""
MAX_CHANNELS: Final = 4096
MAX_TOPIC_BYTES: Final = 128

_PIECE_BYTES: Final = 1 << 16
_HEAD: Final = struct.Struct("<BQ")
_MESSAGE: Final = struct.Struct("<HIQQ")
_CHUNK: Final = struct.Struct("<QQQI")
_FOOTER, _CHANNEL, _MESSAGE_RECORD, _CHUNK_RECORD, _DATA_END = 0x02, 0x04, 0x05, 0x06, 0x0F


@dataclass(slots=True)
class Damage:
    """What one reading of a file could not read."""

    records: int = 0
    """Records, chunks mostly, that are damaged, and messages without a topic."""
    unread_bytes: int = 0
    """At the end, after the last record that is whole."""
    finished: bool = False
    """Whether the file was closed in good order."""

    def describe(self) -> str | None:
        """What is missing, in words; None where nothing is."""
        words = []
        if not self.finished:
            words.append(
                f"it was not closed: {self.unread_bytes} bytes at its end could not be read, and what came in the last "
                "second may be missing"
            )
        if self.records:
            words.append(f"{self.records} damaged records were passed over")
        return "; ".join(words) or None


class _SpoiltError(ValueError):
    """A record that cannot be read."""


class RecordFile:
    """The messages of one MCAP file, in the order of the file. Raises RecordError where it is none at all."""

    def __init__(self, path: Path) -> None:
        self.damage = Damage()
        self._path = path
        self._topics: dict[int, bytes] = {}

    def messages(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Topic, content and time of arrival, nanoseconds, of each message in MessagePack. To be called once."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                magic = file.read(len(MAGIC))
                if not MAGIC.startswith(magic):
                    raise RecordError(f"{self._path} is not a recording: no MCAP file")
                yield from self._records(file, size)
        except OSError as error:
            raise RecordError(f"cannot read the recording {self._path}: {error.strerror}") from error

    def _records(self, file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes, int]]:
        while True:
            start = file.tell()
            head = file.read(_HEAD.size)
            opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
            # 0 is no opcode: after a power cut, files may end in zeros.
            if opcode == 0 or length > size - start - _HEAD.size:
                self.damage.unread_bytes = size - start
                return
            if opcode in (_DATA_END, _FOOTER):
                self.damage.finished = True
                return
            if opcode not in (_CHANNEL, _MESSAGE_RECORD, _CHUNK_RECORD):
                file.seek(length, 1)
            elif length > MAX_RECORD_BYTES:
                file.seek(length, 1)
                self.damage.records += 1
            else:
                yield from self._unpacked(opcode, file.read(length))

    def _unpacked(self, opcode: int, content: bytes) -> Iterator[tuple[bytes, bytes, int]]:
        """The messages in one record."""
        try:
            if opcode != _CHUNK_RECORD:
                yield from self._take(opcode, content)
                return
            chunk = memoryview(_chunk(content))
            at = 0
            while at < len(chunk):
                if len(chunk) - at < _HEAD.size:
                    raise _SpoiltError("a record that is cut off")
                inner, length = _HEAD.unpack_from(chunk, at)
                if inner == 0:
                    raise _SpoiltError("no record")
                at += _HEAD.size + length
                if at > len(chunk):
                    raise _SpoiltError("a record longer than its chunk")
                yield from self._take(inner, bytes(chunk[at - length : at]))
        except _SpoiltError:
            self.damage.records += 1

    def _take(self, opcode: int, content: bytes) -> Iterator[tuple[bytes, bytes, int]]:
        if opcode == _CHANNEL:
            number, name = _channel(content)
            if len(self._topics) < MAX_CHANNELS or number in self._topics:
                self._topics[number] = name
        elif opcode == _MESSAGE_RECORD:
            if len(content) < _MESSAGE.size:
                raise _SpoiltError("a message that is cut off")
            number, _, log_time, _ = _MESSAGE.unpack_from(content)
            topic = self._topics.get(number)
            if topic is None:
                self.damage.records += 1
            elif topic:
                yield topic, content[_MESSAGE.size :], log_time


def _channel(content: bytes) -> tuple[int, bytes]:
    """Number and topic of a channel; b"" where its messages are none of the wire's."""
    if len(content) < 4:
        raise _SpoiltError("a channel that is cut off")
    topic, at = _text(content, 4)
    encoding, _ = _text(content, at)
    ours = encoding == MESSAGE_ENCODING.encode() and len(topic) <= MAX_TOPIC_BYTES
    return int.from_bytes(content[:2], "little"), topic if ours else b""


def _chunk(content: bytes) -> bytes:
    """The records of a chunk, unpacked and checked."""
    if len(content) < _CHUNK.size:
        raise _SpoiltError("a chunk that is cut off")
    _, _, size, crc = _CHUNK.unpack_from(content)
    compression, at = _text(content, _CHUNK.size)
    packed = content[at + 8 :]
    most = min(MAX_RECORD_BYTES, (16 << 10) + MAX_RATIO * len(packed))
    if size > most or len(packed) != int.from_bytes(content[at : at + 8], "little"):
        raise _SpoiltError("a chunk of another size than it says")
    data = _decompress(compression, packed, size)
    if len(data) != size or crc not in (0, zlib.crc32(data)):
        raise _SpoiltError("a chunk with another content than it says")
    return data


def _decompress(compression: bytes, packed: bytes, size: int) -> bytes:
    """At most `size` + 1 bytes, whatever the packed ones pretend."""
    try:
        if compression == b"":
            return packed
        if compression == b"zstd":
            return _from_zstd(packed, size + 1)
        if compression == b"lz4":
            return _from_lz4(packed, size + 1)
    except ImportError as error:
        raise RecordError(f"reading needs the package `{error.name}`: pip install 'skelanon[record]'") from error
    raise _SpoiltError("an unknown compression")


def _from_zstd(packed: bytes, most: int) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=MAX_RECORD_BYTES).stream_reader(packed) as reader:
            pieces = bytearray()
            # In pieces: a buffer for all that a chunk may pretend to hold costs more than most chunks.
            while len(pieces) < most and (piece := reader.read(min(_PIECE_BYTES, most - len(pieces)))):
                pieces += piece
            return bytes(pieces)
    except zstandard.ZstdError as error:
        raise _SpoiltError("compressed data that is damaged") from error


def _from_lz4(packed: bytes, most: int) -> bytes:
    from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

    try:
        return bytes(LZ4FrameDecompressor().decompress(packed, max_length=most))
    except (RuntimeError, EOFError) as error:
        raise _SpoiltError("compressed data that is damaged") from error


def _text(content: bytes, at: int) -> tuple[bytes, int]:
    """A string with its length before it, and where it ends."""
    end = at + 4 + int.from_bytes(content[at : at + 4], "little")
    if at + 4 > len(content) or end > len(content):
        raise _SpoiltError("a text that is cut off")
    return content[at + 4 : end], end
