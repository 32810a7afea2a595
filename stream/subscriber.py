"""Receives the streams of one node: every frame, or the newest ones, and what went wrong on the way."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self

import zmq

from skelanon.sensors.keys import ClientKeys

from .inlet import QUEUED, Inlet
from .received import Event, Follower, Gap, Message, ReceivedFrame, Restart, Resume, Stall, StreamStats, log_event
from .wire import Kind, topic

__all__ = [
    "Event",
    "Gap",
    "ReceivedFrame",
    "Restart",
    "Resume",
    "Stall",
    "StreamStats",
    "Subscriber",
]

_BURST: Final = 10 * QUEUED
"""Messages taken in one go: more than all queues hold, and yet an end when they come faster than they are read."""
_SLICE_S: Final = 0.2
"""Longest wait in ZeroMQ, which Ctrl-C does not interrupt on Windows."""


class Subscriber:
    """Subscribes to all streams of a node, or to those named, and hands their frames on.

    endpoint: ZeroMQ address of the node, such as `tcp://10.0.0.5:7400`. stall_after_s: silence that counts as a stall.
    frames: False for monitors: of the streams they name they are sent schema and status alone, and no silence stalls.
    on_event: called with each Event, in the thread that reads, in the middle of a read; by default it is logged.
    on_message: called there with every good message, its bytes and the time it came, nanoseconds: for recording.

    One thread makes it, reads it and closes it. A malformed message is counted and skipped, never raised. ZeroMQ
    connects, and connects again, while it is read. Stalls are looked for whenever nothing is left to read.
    Raises ValueError for an impossible endpoint, stream name or key.
    """

    def __init__(
        self,
        endpoint: str,
        streams: Iterable[str] | None = None,
        *,
        curve: ClientKeys | None = None,
        stall_after_s: float = 2.0,
        frames: bool = True,
        on_event: Callable[[Event], None] | None = None,
        on_message: Callable[[Message, bytes, int], None] | None = None,
    ) -> None:
        if isinstance(streams, str):
            raise ValueError(f"`streams` is a list of names: [{streams!r}]")
        names = None if streams is None else dict.fromkeys(streams)
        kinds: tuple[Kind, ...] = ("frame",) if frames else ("schema", "status")  # without `frame`: all of the stream
        prefixes = [topic(stream, kind).removesuffix(b"frame") for stream in names or () for kind in kinds]
        if names is None:
            prefixes = [b"skelanon/1/"]
        if not prefixes or stall_after_s <= 0:
            raise ValueError("`streams` names at least one stream (None: all), and `stall_after_s` is above 0")
        self._follower = Follower(
            names or (),
            on_event or log_event,
            stall_after_ns=int(stall_after_s * 1e9) if frames else sys.maxsize,
            now_ns=time.monotonic_ns(),
        )
        self._on_message = on_message
        self._thread = threading.get_ident()
        self._context = zmq.Context()
        try:
            self._inlet = Inlet(self._context, endpoint, prefixes, curve)
        except zmq.ZMQError as error:
            self._context.term()
            raise ValueError(f"cannot connect to `endpoint` {endpoint!r}: {error.strerror}") from error

    @property
    def streams(self) -> dict[str, StreamStats]:
        """What is known of each stream that was asked for or has come."""
        return self._follower.streams

    @property
    def malformed(self) -> int:
        """Messages that were refused, those of no known stream included."""
        return self._follower.malformed

    def read(self, timeout_ms: float | None = None) -> ReceivedFrame | None:
        """The next frame, in the order of arrival; None when none came in time (no `timeout_ms`: waits for ever)."""
        self._check_open()
        deadline = float("inf") if timeout_ms is None else time.monotonic() + timeout_ms / 1e3
        while not self._closed:
            for _ in range(_BURST):
                parts = self._inlet.receive() if not self._closed else None  # `on_event` may close it
                if parts is None:
                    break
                frame = self._take(parts)
                if frame is not None:
                    return frame
            if not self._wait(deadline):
                break
        return None

    def latest(self, timeout_ms: float | None = None) -> dict[str, ReceivedFrame]:
        """Drain the queue: the newest frame of each stream that sent any since the last call.

        Waits for the first one; empty when none came in time (no `timeout_ms`: waits for ever). Frames passed over
        are not lost: `lost` and Gap count only what did not arrive.
        """
        newest: dict[str, ReceivedFrame] = {}
        frame = self.read(timeout_ms)
        for _ in range(_BURST):
            if frame is None:
                break
            newest[frame.stream] = frame
            frame = None if self._closed else self.read(0)
        return newest

    def __iter__(self) -> Iterator[ReceivedFrame]:
        """Every frame, until the Subscriber is closed."""
        self._check_open()
        while not self._closed:
            frame = self.read()
            if frame is not None:
                yield frame

    def close(self) -> None:
        """Leave. May be called twice, by the thread that made the Subscriber."""
        self._check_thread()
        self._inlet.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _closed(self) -> bool:
        return self._inlet.socket.closed

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a Subscriber is read and closed by the thread that made it")

    def _check_open(self) -> None:
        self._check_thread()
        if self._closed:
            raise RuntimeError("the Subscriber is closed")

    def _wait(self, deadline: float) -> bool:
        """Wait for a message, a stall or the deadline; False once the deadline has passed."""
        if self._closed:
            return False
        next_stall = self._follower.find_stalls(time.monotonic_ns()) / 1e9
        now = time.monotonic()
        if now >= deadline or self._closed:
            return False
        self._inlet.renew_if_silent()
        until = min(deadline, next_stall, now + _SLICE_S)
        self._inlet.socket.poll(max(1, int((until - now) * 1e3)))
        return True

    def _take(self, parts: list[bytes]) -> ReceivedFrame | None:
        """Handle one message; the frame, if it is one."""
        received_ns = time.time_ns()
        taken = self._follower.take(parts, received_ns, time.monotonic_ns())
        if taken is None:
            return None
        message, frame = taken
        if self._on_message is not None:
            self._on_message(message, parts[1], received_ns)
        return frame
