"""What the messages of one node say, one after the other: frames, what went wrong on the way, counts.

The same for messages that arrive and for messages that were recorded: the clocks are handed in.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.joints import JOINTS

from .anonymous import State
from .wire import (
    FrameMessage,
    SchemaMessage,
    StatusMessage,
    WireError,
    decode_frame,
    decode_schema,
    decode_status,
    parse_topic,
)

log = logging.getLogger(__name__)

MAX_STREAMS: Final = 1024
"""Streams that are followed, so that no publisher can fill memory with invented ones."""

Message = FrameMessage | SchemaMessage | StatusMessage


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


def log_event(event: Event) -> None:
    """What is done with an event that nobody asked for."""
    log.warning("%s", event)


@dataclass(slots=True)
class StreamStats:
    """What is known of one stream. The counts begin when the following does."""

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
    alive_ns: int = 0
    """When the newest frame came, or the epoch's first message of any kind, by the clock that stalls are told by."""

    @property
    def stopped(self) -> bool:
        """Whether the node said that it stops the stream: silence is then no stall."""
        return self.status is not None and self.status.state == "stopped"


class Follower:
    """Checks and follows the messages of one node.

    streams: those asked for, which are missed from `now_ns` on if they do not come. stall_after_ns: silence that
    counts as a stall. on_event: called with each Event, in the middle of `take` or `find_stalls`.
    """

    def __init__(
        self, streams: Iterable[str], on_event: Callable[[Event], None], *, stall_after_ns: int, now_ns: int
    ) -> None:
        self.streams = {stream: StreamStats(alive_ns=now_ns) for stream in streams}
        self.malformed = 0
        """Messages that were refused, those of no known stream included."""
        self._on_event = on_event
        self._stall_after_ns = stall_after_ns

    def take(
        self, parts: Sequence[bytes], received_ns: int, now_ns: int
    ) -> tuple[Message, ReceivedFrame | None] | None:
        """Handle one message: what it says, and the frame if it is one. None: it was refused, and counted.

        received_ns: when it came, since the Unix epoch; now_ns: the same by the clock that stalls are told by.
        """
        stream = None
        try:
            if len(parts) != 2:
                raise WireError(f"{len(parts)} parts; a message has 2")
            stream, kind = parse_topic(parts[0])
            if kind == "frame":
                frame = decode_frame(parts[1])
                return frame, self._frame(stream, frame, received_ns, now_ns)
            if kind == "schema":
                schema = decode_schema(parts[1])
                self._stats(stream, schema, now_ns).schema = schema
                return schema, None
            status = decode_status(parts[1])
            self._stats(stream, status, now_ns).status = status
        except WireError as error:
            self._refuse(stream, error)
            return None
        return status, None

    def find_stalls(self, now_ns: int) -> float:
        """Report streams gone silent; returns the time, nanoseconds, of the next possible stall."""
        soonest = float("inf")
        for name, stats in list(self.streams.items()):
            if stats.stalled or stats.stopped:
                continue
            silent_ns = now_ns - stats.alive_ns
            if silent_ns < self._stall_after_ns:
                soonest = min(soonest, stats.alive_ns + self._stall_after_ns)
                continue
            stats.stalled = True
            stats.stalls += 1
            self._on_event(Stall(name, silent_ns / 1e9))
        return soonest

    def _frame(self, stream: str, message: FrameMessage, received_ns: int, now_ns: int) -> ReceivedFrame:
        stats = self._stats(stream, message, now_ns)
        lost = 0 if stats.sequence is None else message.sequence - stats.sequence - 1
        if lost < 0:
            raise WireError("`sequence` does not grow")
        stats.sequence = message.sequence
        stats.alive_ns = now_ns
        stats.frames += 1
        stats.lost += lost
        if lost:
            self._on_event(Gap(stream, lost))
        if stats.stalled:
            stats.stalled = False
            self._on_event(Resume(stream))
        return _received(message, received_ns, lost)

    def _stats(self, stream: str, message: Message, now_ns: int) -> StreamStats:
        """The statistics of the stream that a message belongs to, begun anew where the node was."""
        if message.stream != stream:
            raise WireError("`stream` is not that of the topic")
        stats = self.streams.get(stream)
        if stats is None:
            if len(self.streams) >= MAX_STREAMS:
                raise WireError(f"more than {MAX_STREAMS} streams")
            stats = self.streams[stream] = StreamStats(alive_ns=now_ns)
        if stats.epoch is None:
            stats.epoch = message.epoch
        elif stats.epoch != message.epoch:
            stats.epoch, stats.sequence = message.epoch, -1
            stats.schema = stats.status = None
            stats.alive_ns = now_ns
            stats.restarts += 1
            self._on_event(Restart(stream))
        return stats

    def _refuse(self, stream: str | None, error: WireError) -> None:
        self.malformed += 1
        if stream is not None and stream in self.streams:
            self.streams[stream].malformed += 1
        log.debug("refused a message: %s", error)


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
