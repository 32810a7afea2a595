"""Where a run of measurements keeps its files and its processes; when it closes, both are gone."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn, Self

import zmq

PATIENCE_S: Final = 20.0
"""Longest wait for a process to start, to say something or to end."""


class BenchError(RuntimeError):
    """A process that was to be measured failed."""


class Child:
    """A process to be measured. It ends with the `with` block, and with the Workplace if there is none."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, started_ns: int) -> None:
        self._process = process
        self._log = log
        self.started_ns = started_ns
        """Just before the process was made, nanoseconds since the Unix epoch."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def stop(self) -> None:
        """Ask it to end, as an operator would; does not wait."""
        self._process.terminate()

    def check(self, deadline_s: float) -> None:
        """Raise BenchError if it has failed, or if the monotonic deadline has passed."""
        if self._process.poll():
            last = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise BenchError(f"the process to be measured failed: {' '.join(last) or 'without a word'}")
        if time.monotonic() > deadline_s:
            raise BenchError(f"the process to be measured was silent for {PATIENCE_S:.0f} s")

    def end(self) -> None:
        """End it, one way or the other, and wait until it has."""
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Workplace:
    """A temporary folder, addresses and processes. Made and used by the main thread.

    While it is open, SIGTERM is a KeyboardInterrupt, as Ctrl-C is; neither leaves a process behind.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="skelanon-bench-")
        self._numbers = itertools.count()
        self._children: list[Child] = []
        self._before = signal.signal(signal.SIGTERM, _interrupt)

    def new_file(self, suffix: str) -> Path:
        """A path that is not yet in use."""
        return Path(self._folder.name) / f"{next(self._numbers)}{suffix}"

    def new_endpoint(self, transport: str) -> str:
        """An address that nobody uses, reachable from this machine alone. Raises BenchError."""
        if transport == "ipc":
            path = self.new_file("")
            if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
                raise BenchError(f"sockets in {path.parent} would have too long a name: set TMPDIR to a shorter folder")
            return f"ipc://{path}"
        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"tcp://127.0.0.1:{server.getsockname()[1]}"

    def start(self, module: str, *arguments: str) -> Child:
        """Run a Python module in a process of its own."""
        log = self.new_file(".log")
        command = [sys.executable, "-m", module, *arguments]
        with log.open("wb") as file, _uninterrupted():
            started_ns = time.time_ns()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, bufsize=0
            )
            child = Child(process, log, started_ns)
            self._children.append(child)
        return child

    def close(self) -> None:
        """End all processes, remove all files. May be called twice."""
        with _uninterrupted():
            for child in self._children:
                child.end()
            self._folder.cleanup()
            signal.signal(signal.SIGTERM, self._before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """SIGINT and SIGTERM wait for the end of the block: a process that was just made must be noted."""
    arrived: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _frame: arrived.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)
