"""A subscriber that only counts frames and reads statuses, so that it costs the node's machine next to nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import zmq

from skelanon.stream.wire import Kind, StatusMessage, decode_status, parse_topic

from .machine import Usage, usage
from .workplace import PATIENCE_S, Child

RECONNECT_MS = 5


class Tap:
    """Receives every message whose topic begins with one of `prefixes`, from a node that may yet have to start.

    queue: messages that may wait to be read; 0 is without bound.
    """

    def __init__(self, endpoint: str, *prefixes: bytes, queue: int = 1000) -> None:
        self._context = zmq.Context()
        self._socket = self._subscribed(endpoint, *prefixes, queue=queue)
        self._socket.setsockopt(zmq.RCVTIMEO, 100)

    def _subscribed(self, endpoint: str, *prefixes: bytes, queue: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RCVHWM, queue)
        for prefix in prefixes:
            socket.subscribe(prefix)
        socket.connect(endpoint)
        return socket

    def receive(self) -> list[bytes] | None:
        """The next message, or None after 0.1 s."""
        try:
            return self._socket.recv_multipart()
        except zmq.Again:
            return None

    def messages(self, child: Child) -> Iterator[tuple[str, Kind, bytes]]:
        """(stream, kind, content) of each message. Raises BenchError when the child fails or falls silent."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            message = self.receive()
            if message is None:
                child.check(deadline_s)
                continue
            deadline_s = time.monotonic() + PATIENCE_S
            yield (*parse_topic(message[0]), message[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close(linger=0)
        self._context.term()


@dataclass(slots=True)
class Run:
    """What a tap saw of a node from its first frame to its end. The span: between its first and last statuses."""

    frames: int = 0
    """Received."""
    first: dict[str, StatusMessage] = field(default_factory=dict)
    """Of each stream, the first status that counts frames."""
    last: dict[str, StatusMessage] = field(default_factory=dict)
    before: Usage | None = None
    after: Usage | None = None
    """What the node's process used, at the span's beginning and when it was asked to stop."""
    usage_s: float = 0.0
    """Time between these two."""

    @property
    def dropped(self) -> int:
        """Frames that were overwritten before the node took them, in the span."""
        return sum(status.dropped for status in self.last.values()) - self.dropped_before

    @property
    def dropped_before(self) -> int:
        """The same, before the span."""
        return sum(status.dropped for status in self.first.values())

    @property
    def lost(self) -> int:
        """Frames that were published and not received; only where the tap was there from the first one on."""
        return sum(status.frames_out for status in self.last.values()) - self.frames

    @property
    def rate_hz(self) -> float:
        """Frames published per second, of all streams, in the span."""
        return sum(
            (last.frames_out - first.frames_out) / max(last.uptime_s - first.uptime_s, 1e-3)
            for first, last in ((self.first[stream], last) for stream, last in self.last.items())
        )


def observe(tap: Tap, child: Child, streams: int, seconds: float) -> Run:
    """Watch a node until all its streams are up and for `seconds` more; stop it; watch it end."""
    run, stopped = Run(), set[str]()
    stop_s = started_s = float("inf")
    for stream, kind, content in tap.messages(child):
        if kind == "frame":
            run.frames += 1
        elif kind == "status":
            status = run.last[stream] = decode_status(content)
            if status.state == "stopped":
                stopped.add(stream)
            elif status.frames_out and stream not in run.first:
                run.first[stream] = status
                if len(run.first) == streams:
                    started_s, run.before = time.monotonic(), usage(child.pid)
                    stop_s = started_s + seconds
        if len(stopped) == streams:
            break
        if time.monotonic() > stop_s:
            run.after, run.usage_s = usage(child.pid), time.monotonic() - started_s
            stop_s = float("inf")
            child.stop()
    return run
