"""The node as users run it: `skelanon run` in a process of its own."""

import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from .plan import LIFETIME_S, RATE_HZ

STREAM: Final = "bench"
PATIENCE_S: Final = 20.0
"""Longest wait for a process to start, to say something or to end."""

_numbers = itertools.count()


class BenchError(RuntimeError):
    """A process that was to be measured failed."""


class Child:
    """A Python module in a process of its own; it ends with the `with` block, if not before."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        self._log = folder / f"{next(_numbers)}.log"
        self.started_ns = time.time_ns()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

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
            raise BenchError(f"the process to be measured did not answer within {PATIENCE_S:.0f} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def daemon(
    folder: Path,
    bundle: str,
    endpoint: str,
    *,
    persons: int = 1,
    streams: int = 1,
    fast: bool = False,
    wait_for_subscribers: int = 1,
) -> Child:
    """A node that publishes `streams` synthetic sensors, named bench-0, bench-1, ..."""
    lifetime_frames = 2_000_000 if fast else round(LIFETIME_S * RATE_HZ)
    sensor = {"kind": "synthetic", "persons": persons, "rate_hz": RATE_HZ, "fast": fast, "frames": lifetime_frames}
    settings: dict[str, Any] = {
        "sensors": {f"{STREAM}-{number}": {**sensor, "seed": number} for number in range(streams)},
        "model": {"bundle": bundle},
        "publish": {"endpoint": endpoint, "wait_for_subscribers": wait_for_subscribers},
    }
    config = folder / f"{next(_numbers)}.yaml"
    config.write_text(json.dumps(settings), "utf-8")  # JSON is YAML
    return Child("skelanon.cli.main", ["run", str(config)], folder)


def new_endpoint(folder: Path, transport: str) -> str:
    """An address that nobody uses, reachable from this machine alone."""
    if transport == "ipc":
        return f"ipc://{folder}/{next(_numbers)}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"
