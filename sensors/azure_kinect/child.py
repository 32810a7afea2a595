"""A camera's own process: `python -m skelanon.sensors.azure_kinect.child`, started by `CameraProcess`.

The settings come in over stdin, so that no list of processes shows a serial number; records go out over stdout. When
stdin ends, the daemon wants it to end, or is dead.
"""

import ctypes
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from skelanon.configs.schema import AzureKinectSettings

from .bindings import CameraError, load
from .memory import resident_bytes
from .problems import Problem
from .records import Kind, Record, pack
from .source import EndOfFile, Source, open_source
from .tracker import Tracker

WAIT_MS: Final = 200
"""Longest wait for an image or a result; a sign of life goes out after each."""
MEMORY_CHECK_S: Final = 1.0
CLOSING_S: Final = 2.0
"""What hangs when it is closed is left behind after this time."""
LONGEST_GAP_S: Final = 0.5
"""Between two frames of a recording: a longer one is a hole in it, or a jump of its clock."""
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

Emit = Callable[[Record], None]


class Pace:
    """Holds the frames of a recording until it is their time."""

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._monotonic, self._sleep = monotonic, sleep
        self._start_s: float | None = None  # host time minus device time

    def wait(self, device_usec: int) -> None:
        """Sleep until the frame is due; one that is far too early or late starts a new beat."""
        device_s, now_s = device_usec / 1e6, self._monotonic()
        if self._start_s is None or abs(self._start_s + device_s - now_s) > LONGEST_GAP_S:
            self._start_s = now_s - device_s
        if (ahead_s := self._start_s + device_s - now_s) > 0:
            self._sleep(ahead_s)


class Stream:
    """Images into the tracker, one after the other, and what it finds out of it, with a sign of life at every turn."""

    def __init__(
        self, settings: AzureKinectSettings, source: Source, tracker: Tracker, emit: Emit, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._source, self._tracker, self._emit, self._stopping = source, tracker, emit, stopping
        paced = settings.file is not None and not settings.fast
        self._pace = Pace(time.monotonic, stopping.wait) if paced else None
        self._in_tracker_ns: int | None = None  # arrival of the image that the tracker holds
        self._last_frame_s = self._memory_checked_s = time.monotonic()

    def run(self) -> Record | None:
        """Until there is no more: what to say last, or None when asked to stop. Raises CameraError."""
        if self._holds_too_much():
            raise CameraError(Problem.LIMIT_TOO_LOW)
        self._emit(Record(Kind.READY))
        while not self._stopping.is_set():
            now_s = time.monotonic()
            try:
                delivered = self._turn()
            except EndOfFile:
                return Record(Kind.ENDED)
            if delivered:
                self._last_frame_s = now_s
            else:
                self._emit(Record(Kind.ALIVE))
                if now_s - self._last_frame_s > self._settings.frame_timeout_s:
                    raise CameraError(Problem.NO_IMAGES if self._in_tracker_ns is None else Problem.NO_RESULTS)
            if now_s - self._memory_checked_s > MEMORY_CHECK_S:
                self._memory_checked_s = now_s
                if self._holds_too_much():
                    return Record(Kind.RECYCLE)
        return None

    def _turn(self) -> bool:
        """One image, or one more wait for what the tracker makes of it; whether a frame went out."""
        if self._in_tracker_ns is None:
            self._feed()
        if self._in_tracker_ns is None:
            return False
        result = self._tracker.pop(WAIT_MS)
        if result is None:
            return False
        device_usec, bodies = result
        if self._pace is not None:
            self._pace.wait(device_usec)
        self._emit(Record(Kind.FRAME, 0, device_usec, self._in_tracker_ns, bodies))
        self._in_tracker_ns = None
        return True

    def _feed(self) -> None:
        capture = self._source.next(WAIT_MS)
        if capture is None:
            return
        arrived_ns = time.monotonic_ns()
        try:
            if self._tracker.enqueue(capture, WAIT_MS):
                self._in_tracker_ns = arrived_ns
        finally:
            self._source.release(capture)

    def _holds_too_much(self) -> bool:
        return resident_bytes() > self._settings.memory_limit_mb << 20


def deliver(settings: AzureKinectSettings, emit: Emit, stopping: threading.Event) -> None:
    """Open all that the settings name, and stream until the end; the last record says why it ended."""
    with ExitStack() as opened:
        last: Record | None
        try:
            bindings = load(settings.libraries)
            source = open_source(bindings, settings)
            opened.callback(source.close)
            tracker = Tracker(bindings, source.calibration, settings)
            opened.callback(tracker.close)
            source.start()
            last = Stream(settings, source, tracker, emit, stopping).run()
        except CameraError as error:
            last = Record(Kind.PROBLEM, error.problem)
        except (Exception, SystemExit):  # noqa: BLE001 - whatever a vendor's library makes of itself
            last = Record(Kind.PROBLEM, Problem.UNEXPECTED)
        if last is not None:
            emit(last)


def main() -> None:
    """Read the settings, stream, and end without running what libraries do at exit."""
    pipe = _claim_stdout()
    _protect()
    settings = AzureKinectSettings.model_validate_json(_read_line())
    stopping = threading.Event()
    threading.Thread(target=_end_with_stdin, args=(stopping,), daemon=True).start()

    def emit(record: Record) -> None:
        data = pack(record)
        while data:
            data = data[pipe.write(data) :]

    try:
        deliver(settings, emit, stopping)
    except BrokenPipeError:  # the daemon is gone
        os._exit(1)
    os._exit(0)


def _claim_stdout() -> io.FileIO:
    """Keep stdout for records; what libraries print goes where stderr goes."""
    pipe = io.FileIO(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _protect() -> None:
    """Do not outlive the daemon, leave no memory image of depth data behind, and leave signals to the daemon."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and service managers send them to all processes at once
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(sys.stdin.fileno(), 65536)
        if not piece:
            os._exit(1)
        line += piece
    return line


def _end_with_stdin(stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()
    time.sleep(CLOSING_S)
    os._exit(1)


if __name__ == "__main__":
    main()
