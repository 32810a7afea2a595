"""One MCAP file that grows chunk by chunk, so that a kill at any point costs the open chunk and nothing else."""

import os
import threading
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from skelanon.stream.received import Message
from skelanon.stream.wire import VERSION, FrameMessage, topic

from .embedded import FORMAT, KINDS, MESSAGE_ENCODING, PROFILE, SCHEMA_ENCODING, embedded_schema
from .errors import RecordError

FLUSH_S: Final = 0.5
"""A chunk ends, and is handed to the operating system, after so long: what a killed recorder loses at most."""
SYNC_S: Final = 1.0
"""The operating system is asked to put it on the disk so often: with a chunk, what a power cut loses at most."""


class McapFile:
    """A new file. Made, used and closed by one thread. Raises OSError, FileExistsError among them, and RecordError."""

    def __init__(self, path: Path) -> None:
        try:
            from mcap.writer import CompressionType, Writer
        except ImportError as error:
            raise RecordError("recording needs the package `mcap`: pip install 'skelanon[record]'") from error
        self.path = path
        self._began_s = time.monotonic()
        self.messages = 0
        self._schemas: dict[str, int] = {}
        self._channels: dict[bytes, int] = {}
        self._open_since_s: float | None = None
        """Monotonic time of the first message of the open chunk."""
        self._file = path.open("xb")
        self._disk = _Disk(os.dup(self._file.fileno()))
        # Not compressed: it would save a quarter, and readers could not tell very empty frames from a bomb.
        self._writer = Writer(self._file, compression=CompressionType.NONE)
        try:
            self._writer.start(PROFILE, f"skelanon {metadata.version('skelanon')}")
            self._writer.add_metadata(PROFILE, {"format": str(FORMAT), "wire": str(VERSION)})
            self._file.flush()
        except OSError:
            self.abandon()
            path.unlink()
            raise

    @property
    def age_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began_s

    @property
    def size(self) -> int:
        """Bytes so far, the open chunk not counted."""
        return 0 if self._file.closed else self._file.tell()

    def add(self, message: Message, payload: bytes, received_ns: int) -> None:
        """Append a message, as the bytes that came."""
        if self._open_since_s is None:
            self._open_since_s = time.monotonic()
        published_ns, sequence = received_ns, 0
        if isinstance(message, FrameMessage):
            published_ns, sequence = message.published_ns, message.sequence & 0xFFFFFFFF
        self._writer.add_message(self._channel(message), received_ns, payload, published_ns, sequence)
        self.messages += 1

    def flush_if_due(self) -> None:
        """End the chunk if it has been open for long enough. Raises what the disk refused since, too."""
        self._disk.check()
        if self._open_since_s is not None and time.monotonic() - self._open_since_s >= FLUSH_S:
            self._open_since_s = None
            self._writer.flush()  # type: ignore[no-untyped-call]
            self._disk.sync_soon()

    def finish(self) -> int:
        """Write what is left and the index, wait for the disk, close; returns the bytes in all.

        A file without messages is removed.
        """
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._file.flush()
            self._disk.check()
            os.fsync(self._file.fileno())
            size = self._file.tell()
        finally:
            self.abandon()
        if not self.messages:
            self.path.unlink()
            return 0
        return size

    def abandon(self) -> None:
        """Close the file as it is."""
        self._disk.stop()
        with suppress(OSError):  # what could not be written before: a full disk
            self._file.close()

    def _channel(self, message: Message) -> int:
        kind = KINDS[type(message)]
        name = topic(message.stream, kind)
        if name not in self._channels:
            if kind not in self._schemas:
                title, content = embedded_schema(kind)
                self._schemas[kind] = self._writer.register_schema(title, SCHEMA_ENCODING, content)
            self._channels[name] = self._writer.register_channel(name.decode(), MESSAGE_ENCODING, self._schemas[kind])
        return self._channels[name]


class _Disk:
    """Waits for the disk in a thread of its own, so that receiving never does."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor  # the thread's own: it may still wait when the file is closed
        self._stop = threading.Event()
        self._dirty = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="recording-sync", daemon=True)
        self._thread.start()

    def sync_soon(self) -> None:
        """There is something new in the file."""
        self._dirty.set()

    def check(self) -> None:
        """Raise the OSError that the disk answered with, if it did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread; it is not waited for where the disk does not answer."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            while not self._stop.wait(SYNC_S):
                if self._dirty.is_set():
                    self._dirty.clear()
                    os.fsync(self._descriptor)
        except OSError as error:
            self._error = error
        finally:
            os.close(self._descriptor)
