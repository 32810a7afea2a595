"""The node's end of the raw link without its socket: whom it follows, which frames it takes, when they were seen."""

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from skelanon.sensors.errors import Interruption
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import LAYOUT

from .clock import SenderClock
from .wire import (
    VERSION,
    Ack,
    Bye,
    Fault,
    FromNode,
    FromSender,
    Hello,
    Ping,
    Pong,
    RawFrame,
    Ready,
    Refuse,
    RemoteWireError,
    Who,
    decode_from_sender,
    joints_of,
    tracking_of,
)

log = logging.getLogger(__name__)

WINDOW: Final = 8
"""Frames that a sender may have on the way: no more than these can ever arrive late."""
PING_PERIOD_NS: Final = 400_000_000
SILENCE_NS: Final = 5_000_000_000
"""A sender that is silent for so long is gone."""
TAKEOVER_NS: Final = 1_000_000_000
"""Another sender is followed once the one before has been silent for so long, as when it was started again."""
LOG_PERIOD_NS: Final = 10_000_000_000


@dataclass(slots=True)
class _Session:
    """One connection of one sender, from its hello on."""

    peer: bytes
    heard_ns: int
    pinged_ns: int
    clock: SenderClock = field(default_factory=SenderClock)
    pings: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    ready: bool = False
    sequence: int = -1
    captured_ns: int = -1
    """Of the frame before, on the node's clock."""
    discontinuity: bool = True
    """The next frame does not continue the one before."""


class Receiver:
    """Follows one sender at a time. All times are of one clock of the node's that is never set, nanoseconds.

    What is to be sent collects in `outbox`, as (peer, message).
    """

    def __init__(self, max_delay_s: float) -> None:
        self._max_delay_ns = round(max_delay_s * 1e9)
        self._session: _Session | None = None
        self._logged_ns: dict[str, int] = {}
        self.outbox: list[tuple[bytes, FromNode]] = []
        self.malformed = 0
        """Messages that are none of the raw link."""
        self.late = 0
        """Frames older than `max_delay_s` when they came, or of a clock not known."""
        self.repeated = 0
        """Frames with a sequence number that had been there."""

    @property
    def connected(self) -> bool:
        """Whether a sender is followed."""
        return self._session is not None

    def tend(self, now_ns: int) -> None:
        """What is due: a ping, or giving up a sender. Call it often."""
        session = self._session
        if session is None:
            return
        if now_ns - session.heard_ns > SILENCE_NS:
            log.warning("the sender has been silent for %d s and is given up", SILENCE_NS // 1_000_000_000)
            self._session = None
        elif now_ns - session.pinged_ns >= PING_PERIOD_NS:
            self._ping(session, now_ns)

    def take(self, peer: bytes, data: bytes, arrived_ns: int) -> tuple[RawFrame, int, bool] | None:
        """One message. A frame that is to be handed on comes back, with its time of capture and discontinuity.

        Raises Interruption where the sender says that nothing will come for now.
        """
        try:
            message = decode_from_sender(data)
        except RemoteWireError as error:
            self.malformed += 1
            self._warn("malformed", f"a sender's message is malformed: {error}", arrived_ns, self.malformed)
            return None
        if isinstance(message, Hello):
            self._greet(peer, message, arrived_ns)
            return None
        session = self._session
        if session is None or session.peer != peer:
            if not isinstance(message, Bye):
                self.outbox.append((peer, Who()))
            return None
        session.heard_ns = arrived_ns
        return self._heed(session, message, arrived_ns)

    def _heed(self, session: _Session, message: FromSender, arrived_ns: int) -> tuple[RawFrame, int, bool] | None:
        match message:
            case RawFrame():
                return self._frame(session, message, arrived_ns)
            case Pong():
                self._pong(session, message, arrived_ns)
            case Fault():
                session.discontinuity = True
                raise Interruption("the sender's sensor has failed; its own log says why")
            case Bye():
                self._session = None
                raise Interruption("the sender has ended; start `skelanon capture` there again")
        return None

    def _greet(self, peer: bytes, hello: Hello, arrived_ns: int) -> None:
        if hello.version != VERSION or hello.layout != LAYOUT:
            self.outbox.append((peer, Refuse("version")))
            self._warn("version", "a sender speaks another version or layout; update both to one", arrived_ns)
            return
        session = self._session
        if session is not None and session.peer != peer and arrived_ns - session.heard_ns < TAKEOVER_NS:
            self.outbox.append((peer, Refuse("busy")))
            return
        if session is None or session.peer != peer:
            log.info("a sender has connected")  # what it says of its sensor may be a serial number
            session = self._session = _Session(peer, arrived_ns, arrived_ns)
        session.heard_ns = arrived_ns
        if session.ready:
            self.outbox.append((peer, Ready(WINDOW)))
        self._ping(session, arrived_ns)

    def _ping(self, session: _Session, now_ns: int) -> None:
        session.pinged_ns = now_ns
        session.pings.append(now_ns)
        self.outbox.append((session.peer, Ping(now_ns)))

    def _pong(self, session: _Session, pong: Pong, arrived_ns: int) -> None:
        if pong.ping_ns not in session.pings:
            return  # an answer to nothing, or long after
        session.pings.remove(pong.ping_ns)
        if session.clock.measure(pong.ping_ns, pong.now_ns, arrived_ns):
            log.warning("the sender's clock was set; let it send times of a clock that runs evenly")
        if not session.ready:
            session.ready = True
            self.outbox.append((session.peer, Ready(WINDOW)))
            error_ns = session.clock.error_ns(arrived_ns) or 0
            log.info("the sender's clock is known to %.1f ms", error_ns / 1e6)

    def _frame(self, session: _Session, frame: RawFrame, arrived_ns: int) -> tuple[RawFrame, int, bool] | None:
        self.outbox.append((session.peer, Ack(frame.sequence)))
        discontinuity = session.discontinuity or frame.discontinuity
        session.discontinuity = discontinuity  # until a frame is handed on
        if frame.sequence <= session.sequence:
            self.repeated += 1
            return None
        session.sequence = frame.sequence
        captured_ns = session.clock.to_node(frame.captured_ns, arrived_ns)
        if captured_ns is None:
            self.late += 1
            self._ping(session, arrived_ns)
            return None
        delay_s = (arrived_ns - captured_ns) / 1e9
        if arrived_ns - captured_ns > self._max_delay_ns:
            self.late += 1
            self._warn("late", f"a frame came {delay_s:.1f} s after its capture (`max_delay_s`)", arrived_ns, self.late)
            return None
        session.captured_ns = min(max(captured_ns, session.captured_ns + 1), arrived_ns)
        session.discontinuity = False
        return frame, session.captured_ns, discontinuity

    def _warn(self, what: str, words: str, now_ns: int, count: int | None = None) -> None:
        """Log a thing that may happen with every message, now and then."""
        if now_ns - self._logged_ns.get(what, -LOG_PERIOD_NS) >= LOG_PERIOD_NS:
            self._logged_ns[what] = now_ns
            log.warning("%s%s", words, "" if count is None else f"; {count} so far")


def body_frame(frame: RawFrame, captured_ns: int, discontinuity: bool) -> BodyFrame:
    """The frame as every sensor gives it. captured_ns: nanoseconds since the Unix epoch, on the node's clock."""
    return BodyFrame(
        captured_ns,
        joints_of(frame.bodies),
        tracking_of(frame.bodies),
        tuple(body.id for body in frame.bodies),
        discontinuity,
    )
