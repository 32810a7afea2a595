"""Between the sensors' threads and the node: one slot for each sensor."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from skelanon.sensors.frame import BodyFrame

LOSSLESS_DEPTH: Final = 64
"""Frames that a lossless sensor may be ahead of the node."""

Notice = Literal["fault", "ended"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the node takes out: a frame or a notice of one sensor.

    dropped: frames of this sensor that were overwritten since its last delivery.
    """

    sensor: int
    content: BodyFrame | Notice
    put_ns: int
    dropped: int


class Mailbox:
    """Newest wins: a frame that nobody took is overwritten and counted; notices and lossless frames wait in line.

    `put` may be called from any thread, `take` from one; that one waits `gather_s` for more once something is there.
    on_put: called whenever there is something to take, in the thread that put it there.
    """

    def __init__(
        self,
        lossless: list[bool],
        *,
        gather_s: float = 0.0,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        on_put: Callable[[], None] = lambda: None,
    ) -> None:
        self._lossless = lossless
        self._gather_s = gather_s
        self._clock_ns = clock_ns
        self._on_put = on_put
        self._lines: list[list[tuple[BodyFrame | Notice, int, int]]] = [[] for _ in lossless]
        self._ready: dict[int, None] = {}  # sensors whose line is not empty, in order of arrival
        lock = threading.Lock()
        self._fresh = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._enough = threading.Condition(lock)
        self._closed = False
        self._failure: BaseException | None = None

    def put(self, sensor: int, content: BodyFrame | Notice) -> None:
        """Hand over. Blocks only where the sensor is lossless and its line full, until there is room or the end."""
        frame = isinstance(content, BodyFrame)
        with self._fresh:
            line = self._lines[sensor]
            if self._lossless[sensor]:
                while len(line) >= LOSSLESS_DEPTH and not self._closed:
                    self._room.wait()
            dropped = 0
            if not self._lossless[sensor] and line and isinstance(line[-1][0], BodyFrame) and frame:
                overwritten, _, before = line.pop()
                dropped = before + 1
                content = _after(overwritten, content)
            line.append((content, self._clock_ns(), dropped))
            if not self._ready:
                self._fresh.notify()
            self._ready[sensor] = None
            if len(self._ready) == len(self._lines):
                self._enough.notify()
        self._on_put()

    def take(self, timeout_s: float) -> list[Delivery]:
        """All that waits, in order for each sensor; empty when nothing came within `timeout_s`.

        Raises RuntimeError, from the cause, when a sensor's thread has failed.
        """
        with self._fresh:
            if not self._ready and self._failure is None:
                self._fresh.wait(timeout_s)
            if self._gather_s and 0 < len(self._ready) < len(self._lines):
                self._enough.wait(self._gather_s)
            if self._failure is not None:
                raise RuntimeError("a sensor's thread ended by an error of its own") from self._failure
            deliveries = [
                Delivery(sensor, content, put_ns, dropped)
                for sensor in self._ready
                for content, put_ns, dropped in self._lines[sensor]
            ]
            for sensor in self._ready:
                self._lines[sensor].clear()
            self._ready.clear()
            self._room.notify_all()
            return deliveries

    def fail(self, error: BaseException) -> None:
        """Make `take` raise: a thread of this program itself has failed."""
        with self._fresh:
            self._failure = error
            self._fresh.notify()
        self._on_put()

    def close(self) -> None:
        """Let every blocked `put` go."""
        with self._fresh:
            self._closed = True
            self._room.notify_all()


def _after(overwritten: BodyFrame | Notice, content: BodyFrame | Notice) -> BodyFrame | Notice:
    """A frame takes over the discontinuity of one that nobody will see."""
    if isinstance(overwritten, BodyFrame) and isinstance(content, BodyFrame) and overwritten.discontinuity:
        return replace(content, discontinuity=True)
    return content
