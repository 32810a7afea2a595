"""Records what a Subscriber receives."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from skelanon.stream.received import Message
from skelanon.stream.wire import FrameMessage, SchemaMessage

from .errors import RecordError
from .mcap_file import McapFile

SUFFIX: Final = ".mcap"


class Recorder:
    """Appends messages to one new MCAP file, or to a folder in files of `max_minutes` each.

    out: a `.mcap` file that does not exist, or a folder, which is made. What is written are the wire's own bytes, as
    they came: gaps and restarts with them. Give `write` to a Subscriber as `on_message`, and call `flush` between
    reads, some ten times a second. One thread makes, uses and closes it; another one of its own waits for the disk.
    Every method raises RecordError: the file exists, cannot be written (a full disk), `mcap` is not installed. After
    that nothing more is taken, and what was written before can be read.
    """

    def __init__(self, out: Path, *, max_minutes: float = 60.0) -> None:
        if not max_minutes > 0:
            raise RecordError(f"`max_minutes` is {max_minutes}; a file holds more than 0 minutes")
        self.frames = 0
        self.files = 0
        self._bytes = 0
        self._max_s = 60 * max_minutes
        self._folder = None if out.suffix == SUFFIX else out
        self._session = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._schemas: dict[str, tuple[SchemaMessage, bytes]] = {}
        """The newest of each stream: each file begins with what its joints mean."""
        self._failure: RecordError | None = None
        self.path = out
        """The file that is being written, or was last."""
        self._file: McapFile | None = None
        with self._noting_failure():
            self._file = self._open()

    @property
    def size(self) -> int:
        """Bytes in all files so far, the open chunk not counted."""
        return self._bytes + (self._file.size if self._file is not None else 0)

    def write(self, message: Message, payload: bytes, received_ns: int) -> None:
        """Append one message: what it says, its bytes, when it came."""
        file = self._writable()
        known = self._schemas.get(message.stream)
        if known is not None and known[0].epoch != message.epoch:
            del self._schemas[message.stream]
        with self._noting_failure():
            if self._folder is not None and file.age_s >= self._max_s:
                file = self._begin_next(received_ns)
            file.add(message, payload, received_ns)
        self.frames += isinstance(message, FrameMessage)
        if isinstance(message, SchemaMessage):
            self._schemas[message.stream] = message, payload

    def flush(self) -> None:
        """Hand over to the operating system what is due."""
        file = self._writable()
        with self._noting_failure():
            file.flush_if_due()

    def close(self) -> None:
        """Write what is left and the index, and wait for the disk. May be called twice.

        A file into which nothing was written is removed.
        """
        file, self._file = self._file, None
        if file is None:
            return
        if self._failure is not None:
            file.abandon()
            return
        with self._noting_failure():
            self._bytes += file.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _writable(self) -> McapFile:
        if self._failure is not None:
            raise self._failure
        if self._file is None:
            raise RuntimeError("the Recorder is closed")
        return self._file

    def _begin_next(self, received_ns: int) -> McapFile:
        if self._file is not None:
            self._bytes += self._file.finish()
        self._file = file = self._open()
        for message, payload in self._schemas.values():
            file.add(message, payload, received_ns)
        return file

    def _open(self) -> McapFile:
        self.files += 1
        if self._folder is not None:
            self.path = self._folder / f"{self._session}-{self.files:04}{SUFFIX}"
            self._folder.mkdir(parents=True, exist_ok=True)
        return McapFile(self.path)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Turn what the operating system says into a RecordError; whatever it is, it stands from then on."""
        try:
            yield
        except FileExistsError as error:
            self._failure = RecordError(f"{error.filename} exists already; choose another name")
            raise self._failure from None
        except OSError as error:
            self._failure = RecordError(
                f"cannot record into {self.path}: {error.strerror}; what was recorded before is kept"
            )
            raise self._failure from error
        except RecordError as error:
            self._failure = error
            raise
