"""The machine itself: limits of the process, the clock, room on the disk."""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .line import Line

_MIN_FILES: Final = 1024
_MIN_LOCKED_KIB: Final = 64
_MIN_FREE: Final = 1 << 30
_UNSYNCHRONISED_US: Final = 16_000_000
"""The kernel's estimate of its clock's error stands there while nobody sets the clock (adjtimex(2))."""


def limits() -> Iterator[Line]:
    """What the system lets one process use. Posix only."""
    if sys.platform == "win32":
        return
    import resource

    files, locked = resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    endless = resource.RLIM_INFINITY
    if files != endless and files < _MIN_FILES:
        remedy = f"ulimit -n {_MIN_FILES} (systemd: LimitNOFILE={_MIN_FILES}): each subscriber takes one"
        yield Line("machine", "open files", "warn", f"at most {files}", remedy)
    else:
        yield Line("machine", "open files", "ok", "no limit" if files == endless else f"at most {files:,}")
    kib = locked // 1024
    if locked != endless and kib < _MIN_LOCKED_KIB:
        remedy = f"ulimit -l {_MIN_LOCKED_KIB} (systemd: LimitMEMLOCK={_MIN_LOCKED_KIB}K)"
        yield Line(
            "machine", "locked memory", "warn", f"at most {kib} KiB, so that keys may be swapped to disk", remedy
        )
    else:
        yield Line("machine", "locked memory", "ok", "no limit" if locked == endless else f"at most {kib:,} KiB")


def clock() -> Iterator[Line]:
    """Whether somebody sets the clock, by which subscribers tell latency and align streams. Linux only."""
    if sys.platform != "linux":
        return
    state = (ctypes.c_long * 64)()  # struct timex; all zero: change nothing, only tell
    told = ctypes.CDLL(None).adjtimex(ctypes.byref(state)) >= 0
    if told and state[3] < _UNSYNCHRONISED_US:  # maxerror, after modes, offset and freq
        yield Line("machine", "clock", "ok", "synchronised")
    else:
        remedy = "nothing, if all subscribers run on this machine; else run chrony or systemd-timesyncd"
        yield Line("machine", "clock", "warn", "not synchronised" if told else "cannot be asked", remedy)


def disk(folder: Path = Path()) -> Iterator[Line]:
    """Room in the working folder."""
    free = shutil.disk_usage(folder).free
    if free < _MIN_FREE:
        yield Line(
            "machine", "disk", "warn", f"{free >> 20} MiB free here", "make room: recordings and bundles need it"
        )
    else:
        yield Line("machine", "disk", "ok", f"{free >> 30} GiB free here")


def working_folder(folder: Path = Path()) -> Iterator[Line]:
    """Whether bundles, keys and recordings can be written where one stands."""
    remedy = "give this user the right to write here, or go elsewhere"
    yield writable("machine", "working folder", folder, "this folder", remedy)


def writable(group: str, what: str, folder: Path, shown: str, remedy: str, *, needed: bool = False) -> Line:
    """Whether files can be made in a folder, which need not be there yet."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        return Line(group, what, "broken", f"{shown} lies below a file", remedy, needed=needed)
    if not os.access(there, os.W_OK | os.X_OK):
        return Line(group, what, "broken", f"{shown} cannot be written", remedy, needed=needed)
    return Line(group, what, "ok", f"{shown} can be written", needed=needed)
