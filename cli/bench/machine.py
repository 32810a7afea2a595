"""What the figures were measured on, and what a process uses, as Linux tells it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import zmq
from msgspec import Struct

PACKAGES = ("skelanon", "numpy", "pyzmq", "msgspec", "onnxruntime", "onnxruntime-gpu")


class Machine(Struct, frozen=True):
    """Without these, a figure means nothing."""

    cpu: str
    cores: int
    """Those that this process may use."""
    load_average: tuple[float, float, float] | None
    """Of 1, 5 and 15 minutes, before the first measurement; None where the system does not tell."""
    system: str
    date: str
    versions: dict[str, str]

    def headline(self) -> str:
        """For the head of a table."""
        load = " ".join(f"{value:.2f}" for value in self.load_average) if self.load_average else "unknown"
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.cpu}, {self.cores} cores, load average {load}\n{self.system}, {self.date}\n{versions}"


def this_machine() -> Machine:
    """The machine as it is now."""
    versions = {"python": platform.python_version(), "libzmq": zmq.zmq_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return Machine(
        cpu=_cpu_model(),
        cores=len(cores()) or os.cpu_count() or 1,
        load_average=os.getloadavg() if hasattr(os, "getloadavg") else None,
        system=f"{platform.system()} {platform.release()}",
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        versions=versions,
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses now; cpu_s: since it started."""

    resident_mb: float
    threads: int
    cpu_s: float


def usage(process: int) -> Usage | None:
    """Of a process, by its id; None where there is no /proc, or once it has ended."""
    folder = Path("/proc") / str(process)
    if not folder.is_dir():
        return None
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    if "VmRSS" not in status:  # it has ended, and nobody has waited for it yet
        return None
    times = (folder / "stat").read_text().rpartition(")")[2].split()  # proc(5): from field 3 on
    return Usage(
        resident_mb=int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        threads=int(status["Threads"]),
        cpu_s=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
    )


def cores() -> list[int]:
    """The cores that this process may use; none where processes cannot be tied to cores."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def tied_to(some_cores: list[int]) -> Iterator[None]:
    """This process, and those that it starts meanwhile, run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, some_cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
