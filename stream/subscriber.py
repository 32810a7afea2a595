"""Receives the streams of one node: every frame, or the newest ones, and what went wrong on the way."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import numpy as np
import zmq
from numpy.typing import NDArray

from skelanon.sensors.joints import JOINTS

from .anonymous import State
from .wire import (
    MAX_MESSAGE_BYTES,
    FrameMessage,
    SchemaMessage,
    StatusMessage,
    WireError,
    decode_frame,
    decode_schema,
    decode_status,
    parse_topic,
    topic,
)

log = logging.getLogger(__name__)

MAX_STREAMS: Final = 1024
"""Streams that one Subscriber follows, so that no publisher can fill memory with invented ones."""

_QUEUED: Final = 1000
_BURST: Final = 10 * _QUEUED
"""Messages taken in one go: more than all queues hold, and yet an end when they come faster than they are read."""
_RENEW_AFTER_S: Final = 5.0
"""Silence, without even a status, after which the connection is made anew."""
_SLICE_S: Final = 0.2
"""Longest wait in ZeroMQ, which Ctrl-C does not interrupt on Windows."""


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """CURVE keys, each 40 characters of Z85: the client's own pair and the node's public key."""

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes

    def __post_init__(self) -> None:
        if {len(self.public), len(self.secret), len(self.server)} != {40}:
            raise ValueError("CURVE keys have 40 characters (Z85) each; make a pair with `skelanon keys new`")


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedFrame:
    """One frame of anonymous bodies; the meaning of its joints is in the stream's schema.

    ids: M body ids. joints: (M, 25, 3) float32, metres, read-only.
    tracking: (M, 25) uint8, 0 not tracked, 1 inferred, 2 tracked, read-only; None where the node does not publish it.
    captured_ns, published_ns: the node's clock; received_ns: this machine's; nanoseconds since the Unix epoch.
    dropped: frames the node itself skipped before this one. lost: frames it published that did not arrive.
    """

    stream: str
    epoch: int
    sequence: int
    captured_ns: int
    published_ns: int
    received_ns: int
    state: State
    ids: tuple[int, ...]
    joints: NDArray[np.float32] = field(repr=False)
    tracking: NDArray[np.uint8] | None = field(repr=False)
    dropped: int
    lost: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that the node published did not arrive."""

    stream: str
    lost: int


@dataclass(frozen=True, slots=True)
class Restart:
    """The node was started anew: ids and sequence numbers begin again, the model may be another."""

    stream: str


@dataclass(frozen=True, slots=True)
class Stall:
    """No frame for `seconds`, not even an empty one."""

    stream: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Resume:
    """The first frame after a stall."""

    stream: str


Event = Gap | Restart | Stall | Resume


@dataclass(slots=True)
class StreamStats:
    """What a Subscriber knows of one stream. The counts begin when the Subscriber is made."""

    frames: int = 0
    lost: int = 0
    restarts: int = 0
    stalls: int = 0
    malformed: int = 0
    stalled: bool = False
    schema: SchemaMessage | None = None
    """The newest of the present epoch."""
    status: StatusMessage | None = None
    """The newest of the present epoch."""
    epoch: int | None = None
    sequence: int | None = None
    """Of the newest frame; None before the first one, -1 before the first one after a restart."""
    alive_ns: int = field(default_factory=time.monotonic_ns)
    """Monotonic time of the newest frame, or of the epoch's first message of any kind."""

    @property
    def stopped(self) -> bool:
        """Whether the node said that it stops the stream: silence is then no stall."""
        return self.status is not None and self.status.state == "stopped"


class Subscriber:
    """Subscribes to all streams of a node, or to those named, and hands their frames on.

    endpoint: ZeroMQ address of the node, such as `tcp://10.0.0.5:7400`. stall_after_s: silence that counts as a stall.
    on_event: called with each Event, in the thread that reads, in the middle of a read; by default it is logged.

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
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if isinstance(streams, str):
            raise ValueError(f"`streams` is a list of names: [{streams!r}]")
        self.streams = {stream: StreamStats() for stream in streams or ()}
        prefixes = [topic(stream, "frame").removesuffix(b"frame") for stream in self.streams]
        if streams is None:
            prefixes = [b"skelanon/1/"]
        if not prefixes or stall_after_s <= 0:
            raise ValueError("`streams` names at least one stream (None: all), and `stall_after_s` is above 0")
        self.malformed = 0
        """Messages that were refused, those of no known stream included."""
        self._stall_after_ns = int(stall_after_s * 1e9)
        self._on_event = on_event or (lambda event: log.warning("%s", event))
        self._endpoint = endpoint
        self._heard_ns = time.monotonic_ns()
        self._thread = threading.get_ident()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        try:
            _connect(self._socket, endpoint, prefixes, curve)
        except zmq.ZMQError as error:
            self.close()
            raise ValueError(f"cannot connect to `endpoint` {endpoint!r}: {error.strerror}") from error

    def read(self, timeout_ms: float | None = None) -> ReceivedFrame | None:
        """The next frame, in the order of arrival; None when none came in time (no `timeout_ms`: waits for ever)."""
        self._check_open()
        deadline = float("inf") if timeout_ms is None else time.monotonic() + timeout_ms / 1e3
        while not self._socket.closed:
            for _ in range(_BURST):
                parts = self._receive()
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
            frame = None if self._socket.closed else self.read(0)
        return newest

    def __iter__(self) -> Iterator[ReceivedFrame]:
        """Every frame, until the Subscriber is closed."""
        self._check_open()
        while not self._socket.closed:
            frame = self.read()
            if frame is not None:
                yield frame

    def close(self) -> None:
        """Leave. May be called twice, by the thread that made the Subscriber."""
        self._check_thread()
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a Subscriber is read and closed by the thread that made it")

    def _check_open(self) -> None:
        self._check_thread()
        if self._socket.closed:
            raise RuntimeError("the Subscriber is closed")

    def _receive(self) -> list[bytes] | None:
        if self._socket.closed:  # by `on_event`
            return None
        try:
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._heard_ns = time.monotonic_ns()
        return parts

    def _wait(self, deadline: float) -> bool:
        """Wait for a message, a stall or the deadline; False once the deadline has passed."""
        if self._socket.closed:
            return False
        next_stall = self._find_stalls()
        now = time.monotonic()
        if now >= deadline or self._socket.closed:
            return False
        self._renew_if_silent()
        until = min(deadline, next_stall, now + _SLICE_S)
        self._socket.poll(max(1, int((until - now) * 1e3)))
        return True

    def _find_stalls(self) -> float:
        """Report streams gone silent; returns the monotonic time, seconds, of the next possible stall."""
        now = time.monotonic_ns()
        soonest = float("inf")
        for name, stats in list(self.streams.items()):
            if stats.stalled or stats.stopped:
                continue
            silent_ns = now - stats.alive_ns
            if silent_ns < self._stall_after_ns:
                soonest = min(soonest, (stats.alive_ns + self._stall_after_ns) / 1e9)
                continue
            stats.stalled = True
            stats.stalls += 1
            self._on_event(Stall(name, silent_ns / 1e9))
        return soonest

    def _renew_if_silent(self) -> None:
        """Connect anew after long silence.

        ZeroMQ itself connects again after a loss, but never after an error of protocol: a message over ZMQ_MAXMSGSIZE,
        or another program that answered at the node's port for a moment.
        """
        now = time.monotonic_ns()
        if now - self._heard_ns < _RENEW_AFTER_S * 1e9:
            return
        self._heard_ns = now
        with suppress(zmq.ZMQError):
            self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)

    def _take(self, parts: list[bytes]) -> ReceivedFrame | None:
        """Handle one message; the frame, if it is one."""
        received_ns = time.time_ns()
        stream = None
        try:
            if len(parts) != 2:
                raise WireError(f"{len(parts)} parts; a message has 2")
            stream, kind = parse_topic(parts[0])
            if kind == "frame":
                return self._frame(stream, decode_frame(parts[1]), received_ns)
            if kind == "schema":
                schema = decode_schema(parts[1])
                self._stats(stream, schema).schema = schema
            else:
                status = decode_status(parts[1])
                self._stats(stream, status).status = status
        except WireError as error:
            self._refuse(stream, error)
        return None

    def _frame(self, stream: str, message: FrameMessage, received_ns: int) -> ReceivedFrame:
        stats = self._stats(stream, message)
        lost = 0 if stats.sequence is None else message.sequence - stats.sequence - 1
        if lost < 0:
            raise WireError("`sequence` does not grow")
        stats.sequence = message.sequence
        stats.alive_ns = time.monotonic_ns()
        stats.frames += 1
        stats.lost += lost
        if lost:
            self._on_event(Gap(stream, lost))
        if stats.stalled:
            stats.stalled = False
            self._on_event(Resume(stream))
        return _received(message, received_ns, lost)

    def _stats(self, stream: str, message: FrameMessage | SchemaMessage | StatusMessage) -> StreamStats:
        """The statistics of the stream that a message belongs to, begun anew where the node was."""
        if message.stream != stream:
            raise WireError("`stream` is not that of the topic")
        stats = self.streams.get(stream)
        if stats is None:
            if len(self.streams) >= MAX_STREAMS:
                raise WireError(f"more than {MAX_STREAMS} streams")
            stats = self.streams[stream] = StreamStats()
        if stats.epoch is None:
            stats.epoch = message.epoch
        elif stats.epoch != message.epoch:
            stats.epoch, stats.sequence = message.epoch, -1
            stats.schema = stats.status = None
            stats.alive_ns = time.monotonic_ns()
            stats.restarts += 1
            self._on_event(Restart(stream))
        return stats

    def _refuse(self, stream: str | None, error: WireError) -> None:
        self.malformed += 1
        if stream is not None and stream in self.streams:
            self.streams[stream].malformed += 1
        log.debug("refused a message: %s", error)


def _connect(socket: zmq.Socket[bytes], endpoint: str, prefixes: list[bytes], curve: ClientKeys | None) -> None:
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, _QUEUED)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
    # No ZMQ_HEARTBEAT_IVL: with it, libzmq aborts the process of a subscriber that is behind (libzmq #3937, #4767).
    if curve is not None:
        socket.curve_publickey, socket.curve_secretkey = curve.public, curve.secret
        socket.curve_serverkey = curve.server
    for prefix in prefixes:
        socket.subscribe(prefix)
    socket.connect(endpoint)


def _received(message: FrameMessage, received_ns: int, lost: int) -> ReceivedFrame:
    bodies = message.bodies
    joints = np.frombuffer(b"".join([body.joints for body in bodies]), "<f4").reshape(-1, JOINTS, 3)
    tracking = None
    if not bodies or bodies[0].tracking:
        tracking = np.frombuffer(b"".join([body.tracking for body in bodies]), np.uint8).reshape(-1, JOINTS)
    return ReceivedFrame(
        message.stream,
        message.epoch,
        message.sequence,
        message.captured_ns,
        message.published_ns,
        received_ns,
        message.state,
        tuple([body.id for body in bodies]),
        joints,
        tracking,
        message.dropped,
        lost,
    )
