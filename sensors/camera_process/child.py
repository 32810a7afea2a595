"""The camera's end: what `python -m <module of a camera>` runs when `CameraProcess` starts it.

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
from typing import Final, TypeVar

from skelanon.configs.schema import CameraSettings

from .camera import Camera, CameraError, EndOfFile
from .memory import resident_bytes
from .records import Kind, Record, pack

WAIT_MS: Final = 200
"""Longest wait for what a camera is asked for; a sign of life goes out after each."""
MEMORY_CHECK_S: Final = 1.0
CLOSING_S: Final = 2.0
"""What hangs when it is closed is left behind after this time."""
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

Emit = Callable[[Record], None]
S = TypeVar("S", bound=CameraSettings)
Open = Callable[[S, threading.Event, ExitStack], Camera]
"""Starts the camera that settings name, and leaves on the stack how to close it. Raises CameraError.

The event is set when the process is to end.
"""


def serve(settings_type: type[S], open_camera: Open[S]) -> None:
    """Read the settings, stream, and end without running what libraries do at exit."""
    commands, pipe = _claim_pipes()
    _protect()
    settings = settings_type.model_validate_json(_read_line(commands))
    stopping = threading.Event()
    threading.Thread(target=_end_with, args=(commands, stopping), daemon=True).start()

    def emit(record: Record) -> None:
        data = pack(record)
        while data:
            data = data[pipe.write(data) :]

    try:
        _deliver(settings, open_camera, emit, stopping)
    except BrokenPipeError:  # the daemon is gone
        os._exit(1)
    os._exit(0)


def _deliver(settings: S, open_camera: Open[S], emit: Emit, stopping: threading.Event) -> None:
    """Open what the settings name, and stream until the end; the last record says why it ended."""
    with ExitStack() as opened:
        last: Record | None
        try:
            last = _stream(settings, open_camera(settings, stopping, opened), emit, stopping)
        except CameraError as error:
            last = Record(Kind.PROBLEM, error.problem)
        except (Exception, SystemExit):  # noqa: BLE001 - whatever a vendor's library makes of itself
            last = Record(Kind.PROBLEM)
        if last is not None:
            emit(last)


def _stream(settings: CameraSettings, camera: Camera, emit: Emit, stopping: threading.Event) -> Record | None:
    """Frames, or signs of life, until there are no more: what to say last, or None when asked to stop."""
    memory_limit = settings.memory_limit_mb << 20
    if resident_bytes() > memory_limit:
        return Record(Kind.RECYCLE)
    emit(Record(Kind.READY))
    last_frame_s = memory_checked_s = time.monotonic()
    while not stopping.is_set():
        now_s = time.monotonic()
        try:
            frame = camera.next()
        except EndOfFile:
            return Record(Kind.ENDED)
        emit(frame or Record(Kind.ALIVE))
        if frame is not None:
            last_frame_s = now_s
        elif now_s - last_frame_s > settings.frame_timeout_s:
            raise CameraError(camera.silence)
        if now_s - memory_checked_s > MEMORY_CHECK_S:
            memory_checked_s = now_s
            if resident_bytes() > memory_limit:
                return Record(Kind.RECYCLE)
    return None


def _claim_pipes() -> tuple[int, io.FileIO]:
    """Keep stdin and stdout for the daemon; what libraries print goes where stderr goes, and they read nothing.

    On Windows, while a thread waits for a pipe, whoever asks anything about it waits too, and libraries ask about stdin
    when they are loaded: NumPy and Kinect20.dll would hang (numpy/numpy #24290).
    """
    commands, pipe = os.dup(sys.stdin.fileno()), io.FileIO(os.dup(sys.stdout.fileno()), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return commands, pipe


def _protect() -> None:
    """Do not outlive the daemon, leave no memory image of depth data behind, and leave signals to the daemon."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and service managers send them to all processes at once
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_line(commands: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(commands, 65536)
        if not piece:
            os._exit(1)
        line += piece
    return line


def _end_with(commands: int, stopping: threading.Event) -> None:
    while os.read(commands, 4096):
        pass
    stopping.set()
    time.sleep(CLOSING_S)
    os._exit(1)
