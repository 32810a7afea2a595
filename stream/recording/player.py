"""Publishes a recording again, so that any subscriber works on it as if it were live.

What it sends are messages that a node published and a Subscriber received, checked by the wire's decoder once more.
It knows no raw frame, and makes no AnonymousFrame.
"""

import secrets
import time
from types import TracebackType
from typing import Final, Literal, Self, get_args

import msgspec
import zmq
from msgspec.structs import replace

from skelanon.sensors.endpoint import is_local
from skelanon.stream.errors import PublishError
from skelanon.stream.outlet import Outlet
from skelanon.stream.received import Message
from skelanon.stream.wire import FrameMessage, Kind, SchemaMessage, StatusMessage, topic

from .embedded import KINDS
from .errors import RecordError
from .reader import Recording

Timestamps = Literal["now", "original"]

LONGEST_PAUSE_NS: Final = 5_000_000_000
"""Silence in a recording is played for so long at most: long enough for a stall."""
_SLICE_S: Final = 0.02
_PAUSE_S: Final = 0.001
_GREETING_PERIOD_S: Final = 0.1


class Player:
    """Plays a recording at an address of this machine. Created, used and closed by one thread.

    rate: times the recorded speed. fast: as fast as the subscribers take it, losing no frame. loop: begin again at the
    end. timestamps: `now` moves the times of capture, `original` keeps them. wait_for: subscriptions to wait for, to
    the stream that has fewest.

    A run of the player is a run of a node: the epoch is new, in each round; `sequence` begins with 0 and jumps where
    the recorded one does; `published_ns` is the time of sending; a `stopped` status ends it.
    Raises PublishError where the address is in use or other machines can reach it, LinkError where it is none.
    """

    def __init__(
        self,
        recording: Recording,
        endpoint: str,
        *,
        rate: float = 1.0,
        fast: bool = False,
        loop: bool = False,
        timestamps: Timestamps = "now",
        wait_for: int = 0,
    ) -> None:
        if not 0 < rate < float("inf"):
            raise RecordError(f"`rate` is {rate}; it must be above 0")
        self.stopped = False
        """Somebody called `stop`. No Event: a signal handler may interrupt whoever holds an Event's lock."""
        self.frames = 0
        self._recording = recording
        self._rate, self._fast, self._loop, self._timestamps = rate, fast, loop, timestamps
        self._wait_for = wait_for
        self._streams = recording.names()
        self._salt = 0
        self._first: dict[str, tuple[int, int]] = {}
        """Epoch and sequence of each stream's first frame in this round."""
        self._epochs: dict[str, int] = {}
        """The recorded epoch that each stream is in; of it are its newest schema and status."""
        self._schemas: dict[str, SchemaMessage] = {}
        self._statuses: dict[str, StatusMessage] = {}
        self._greeted_s = 0.0
        if not is_local(endpoint):
            raise PublishError(
                f"a recording is played on this machine only, at tcp://127.0.0.1:PORT or ipc://PATH, not at {endpoint}"
            )
        kinds: tuple[Kind, ...] = get_args(Kind)
        topics = [topic(stream, kind) for stream in self._streams for kind in kinds]
        self._outlet = Outlet(endpoint, topics, None, lossless=fast)

    @property
    def endpoint(self) -> str:
        """Where it publishes, with its port."""
        return self._outlet.endpoint

    @property
    def streams(self) -> list[str]:
        """Names of the streams that are played."""
        return list(self._streams)

    def run(self) -> None:
        """Play until the end, or until `stop` is called. Raises RecordError where nothing can be played."""
        if not self._streams:
            raise RecordError("there is nothing to play: the recording holds no message of any stream")
        while not self.stopped and self._subscribers() < self._wait_for:
            self._serve()
            time.sleep(_PAUSE_S)
        while not self.stopped:
            played = self.frames
            self._play()
            if not self._loop or self.frames == played:
                break
        for stream, epoch in self._epochs.items():
            status = self._statuses.get(stream) or _no_status(stream, epoch)
            if status.state != "stopped":
                self._send(stream, replace(status, state="stopped"))

    def stop(self) -> None:
        """End `run` soon. May be called from a signal handler."""
        self.stopped = True

    def close(self) -> None:
        """Send what is queued, for a moment, and free the address. May be called twice."""
        self._outlet.close(lambda: self._fast and not self.stopped)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _play(self) -> None:
        """One round."""
        self._salt = secrets.randbits(63)
        for known in (self._first, self._epochs, self._schemas, self._statuses):
            known.clear()
        due_s, before_ns = time.monotonic(), None
        for message, _, received_ns in self._recording.messages():
            if before_ns is not None and not self._fast:
                due_s += min(max(received_ns - before_ns, 0), LONGEST_PAUSE_NS) / 1e9 / self._rate
            before_ns = received_ns
            self._wait_until(due_s)
            if self.stopped:
                return
            self._note(message)
            self._send(message.stream, message)
            self._serve()

    def _wait_until(self, due_s: float) -> None:
        while not self.stopped and (left_s := due_s - time.monotonic()) > 0:
            self._serve()
            self._outlet.socket.poll(max(1, int(min(left_s, _SLICE_S) * 1e3)))  # a subscription ends it early

    def _note(self, message: Message) -> None:
        if self._epochs.get(message.stream) != message.epoch:
            self._epochs[message.stream] = message.epoch
            self._schemas.pop(message.stream, None)
            self._statuses.pop(message.stream, None)
        if isinstance(message, SchemaMessage):
            self._schemas[message.stream] = message
        elif isinstance(message, StatusMessage):
            self._statuses[message.stream] = message
        else:
            self._first.setdefault(message.stream, (message.epoch, message.sequence))
            self.frames += 1

    def _send(self, stream: str, message: Message) -> None:
        """Publish a recorded message, as one of this run."""
        name = topic(stream, KINDS[type(message)])
        content = msgspec.msgpack.encode(self._renewed(message))
        while True:
            try:
                self._outlet.send(name, content)
            except zmq.Again:  # only where fast: a subscriber is behind
                if self.stopped:
                    return
                self._outlet.serve()
                time.sleep(_PAUSE_S)
            else:
                return

    def _renewed(self, message: Message) -> Message:
        # The same salt for all: streams of one node go on having the same epoch.
        epoch = message.epoch ^ self._salt
        if not isinstance(message, FrameMessage):
            return replace(message, epoch=epoch)
        first_epoch, first_sequence = self._first[message.stream]
        now_ns = time.time_ns()
        latency_ns = max(message.published_ns - message.captured_ns, 0)
        return replace(
            message,
            epoch=epoch,
            # What was lost before the recording began is not lost now; what was lost after a restart in it is.
            sequence=message.sequence - (first_sequence if message.epoch == first_epoch else 0),
            captured_ns=message.captured_ns if self._timestamps == "original" else max(now_ns - latency_ns, 0),
            published_ns=now_ns,
        )

    def _subscribers(self) -> int:
        """Subscriptions to the frames of the stream that has fewest."""
        return min(self._outlet.subscriptions.counts[topic(stream, "frame")] for stream in self._streams)

    def _serve(self) -> None:
        """Greet new subscriptions with the schema, where there is one yet: else it comes with the recording."""
        self._outlet.serve()
        newcomers = self._outlet.subscriptions.newcomers
        now_s = time.monotonic()
        if newcomers and now_s - self._greeted_s >= _GREETING_PERIOD_S:
            self._greeted_s = now_s
            for stream, schema in self._schemas.items():
                if topic(stream, "schema") in newcomers:
                    self._send(stream, schema)
            newcomers.clear()


def _no_status(stream: str, epoch: int) -> StatusMessage:
    """For a stream whose recording has no status."""
    return StatusMessage(
        stream=stream, epoch=epoch, state="waiting", uptime_s=0, rate_in_hz=0, rate_out_hz=0, frames_in=0,
        frames_out=0, dropped=0, withheld=0, faults=0, latency_us={},
    )  # fmt: skip
