"""The daemon's end of a camera's process: starts it, reads its records, ends it."""

import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from skelanon.configs.schema import CameraSettings

from .records import Kind, Record, RecordError, read_record

DEPTH: Final = 8
"""Records that may wait to be read; beyond it the process waits, and the camera drops images."""
GRACE_S: Final = 0.5
"""For closing the camera properly, before the process is killed."""
_POLL_S: Final = 0.1


class ProcessGone(Exception):  # noqa: N818 - caught by the sensor, which knows whether it is an error
    """The process has ended; the message says how."""


class CameraProcess:
    """One process and the thread that reads its pipe. Whoever makes it reads it, and stops it.

    A new interpreter, not a fork: none of the daemon's sockets, threads and keys go with it.
    """

    def __init__(
        self, module: str, settings: CameraSettings, body: np.dtype[np.void], libraries: str | None = None
    ) -> None:
        """Runs `module`, with its libraries sought in the folder `libraries` first; bodies come as `body`.

        Raises OSError when no process can be started.
        """
        self.ready = False
        """The camera has started."""
        self.alive_s = time.monotonic()
        """When the process was last heard of; before that, when it was started."""
        self._process = subprocess.Popen(
            # -P: nothing that lies in the working directory is imported in place of what it is named like.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries print serial numbers
            env=_environment(libraries),
        )
        self._stdin, self._stdout = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._body = body
        self._stopped = threading.Event()
        self._records: queue.Queue[Record | None] = queue.Queue(DEPTH)
        self._reader = threading.Thread(target=self._read, args=(self._stdout,), name="camera pipe", daemon=True)
        self._reader.start()
        with suppress(OSError):  # it is gone already, as `next` will tell
            self._stdin.write(settings.model_dump_json().encode() + b"\n")
            self._stdin.flush()

    def next(self, timeout_s: float) -> Record | None:
        """The next record that is more than a sign of life, or None when none came in time. Raises ProcessGone."""
        try:
            record = self._records.get(timeout=timeout_s) if timeout_s > 0 else self._records.get_nowait()
        except queue.Empty:
            return None
        if record is None:
            self._records.put(None)  # it stays gone
            raise ProcessGone(self._how_it_ended())
        return record

    def kill(self) -> None:
        """End the process at once; what was read of it before can still be had."""
        self._process.kill()

    def stop(self) -> None:
        """End the process, properly if it does so soon. May be called twice."""
        self._stopped.set()
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # in a system call that does not end: nothing more can be done
                self._process.wait(2 * GRACE_S)
        self._reader.join(2 * GRACE_S)
        if not self._reader.is_alive():
            self._stdout.close()

    def _read(self, stream: BinaryIO) -> None:
        """Runs in a thread of its own, until the process ends or writes what is not a record."""
        record: Record | None
        while True:
            try:
                record = read_record(stream, self._body)
            except (RecordError, OSError):
                self._process.kill()
                record = None
            self.alive_s = time.monotonic()
            if record is not None and record.kind is Kind.READY:
                self.ready = True
            elif record is None or record.kind is not Kind.ALIVE:
                self._hand_over(record)
            if record is None:
                return

    def _hand_over(self, record: Record | None) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._records.put(record, timeout=_POLL_S)
                return

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _environment(libraries: str | None) -> dict[str, str]:
    """The daemon's, with the folder of libraries first where theirs are sought for."""
    environment = dict(os.environ)
    if libraries is not None:
        name = "PATH" if os.name == "nt" else "LD_LIBRARY_PATH"
        folders = [str(Path(libraries).absolute()), environment.get(name, "")]
        environment[name] = os.pathsep.join(folder for folder in folders if folder)
    return environment
