"""The sender's end of the raw link: used by `skelanon capture`, and by no node."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

import zmq

from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import LAYOUT
from skelanon.sensors.keys import ClientKeys

from .frames import encode_frame
from .security import refuse_open
from .wire import (
    MAX_MESSAGE_BYTES,
    VERSION,
    Ack,
    Alive,
    Bye,
    Control,
    Fault,
    FromNode,
    Hello,
    Ping,
    Pong,
    Ready,
    Refuse,
    RemoteWireError,
    Who,
    decode_from_node,
    encode,
)

log = logging.getLogger(__name__)

SILENCE_S: Final = 5.0
"""A node that was there and is silent for so long is lost: the connection is made anew."""
CONNECTING_S: Final = 15.0
"""So long for a connection to come about: its handshake needs several packets, of which some may be lost."""
HELLO_PERIOD_S: Final = 1.0
ALIVE_PERIOD_S: Final = 0.4
ATTEMPT_S: Final = 2.0
"""Of one attempt at a TCP connection: the system itself would pause for longer and longer."""
LOG_PERIOD_S: Final = 30.0
LINGER_MS: Final = 200
_QUEUED: Final = 64
_SLICE_S: Final = 0.05
_EVENTS: Final = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


@dataclass(slots=True)
class _Connection:
    """One socket of the sender's, and how far it has come."""

    socket: "zmq.Socket[bytes]"
    monitor: "zmq.Socket[bytes]"
    heard_s: float
    answered: bool = False
    """The node has said anything at all."""
    window: int = 0
    """Frames that may be on the way; 0 until the node is ready."""
    acknowledged: int = -1
    hello_s: float = float("-inf")
    sent_s: float = float("-inf")
    trouble: str = "nobody answers"


class Sender:
    """Sends the newest raw frame to a node, encrypted, for as long as it lives. Of the thread that makes it.

    At most the node's window of frames is on the way at any time; while it is full, a newer frame takes the place of
    the one that waits. Nothing ever raises because the node is away.
    keys: the sender's pair and the node's public key. sensor: its kind, as in settings.
    Raises LinkError where the endpoint needs keys, or is none.
    """

    def __init__(
        self,
        endpoint: str,
        keys: ClientKeys | None,
        sensor: str,
        *,
        clock_ns: Callable[[], int] = time.perf_counter_ns,  # Windows' monotonic clock ticks in 16 ms
    ) -> None:
        refuse_open(endpoint, keys is not None, "sender and node")
        self._endpoint, self._keys, self._clock_ns = endpoint, keys, clock_ns
        self._hello = Hello(VERSION, LAYOUT, sensor)
        self._context = zmq.Context()
        self._waiting: tuple[BodyFrame, int] | None = None
        self._faulty = False
        self._sequence = -1
        self._logged_s = time.monotonic() - LOG_PERIOD_S + SILENCE_S  # no word of it if it comes about soon
        self.sent = 0
        self.dropped = 0
        """Frames whose place a newer one took."""
        self.malformed = 0
        self._connection = self._connect()

    @property
    def connected(self) -> bool:
        """Whether the node takes frames."""
        return self._connection.window > 0

    @property
    def idle(self) -> bool:
        """Whether all that was offered has arrived."""
        return self._waiting is None and self._connection.acknowledged >= self._sequence

    @property
    def state(self) -> str:
        """How it stands with the node, in words."""
        return "connected" if self.connected else f"not connected: {self._connection.trouble}"

    def offer(self, frame: BodyFrame) -> None:
        """Send a frame as soon as the window allows; it takes the place of one that waits."""
        age_ns = max(0, time.time_ns() - frame.captured_ns)
        if self._waiting is not None:
            self.dropped += 1
            frame = replace(frame, discontinuity=frame.discontinuity or self._waiting[0].discontinuity)
        self._waiting = (frame, max(0, self._clock_ns() - age_ns))
        self._faulty = False
        self._send_waiting()

    def fault(self) -> None:
        """Tell the node that the sensor has failed; until the next frame."""
        self._faulty = True
        self.dropped += self._waiting is not None
        self._waiting = None
        self._say(Fault())

    def serve(self, timeout_s: float, wake: Any = None) -> None:
        """Answer the node, and connect anew where it is lost. Returns early when `wake`, a socket, can be read."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._listen()
            self._tend()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._wait(min(left_s, _SLICE_S), wake):
                self._listen()
                return

    def close(self) -> None:
        """Say goodbye and leave, within 0.2 s. May be called twice."""
        if self._context.closed:
            return
        self._waiting = None
        self._say(Bye())
        self._disconnect(LINGER_MS)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> _Connection:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IPV6, int("[" in self._endpoint))
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing is queued for a node that is not there
        socket.setsockopt(zmq.SNDHWM, _QUEUED)
        socket.setsockopt(zmq.RCVHWM, _QUEUED)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, round(1000 * ATTEMPT_S))
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._keys is not None:
            socket.curve_publickey, socket.curve_secretkey = self._keys.public, self._keys.secret
            socket.curve_serverkey = self._keys.server
        monitor = socket.get_monitor_socket(_EVENTS)
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError as error:  # a name that cannot be looked up now, say: it is tried again
            log.warning("cannot connect to %s: %s", self._endpoint, error.strerror)
        return _Connection(socket, monitor, time.monotonic())

    def _disconnect(self, linger_ms: int) -> None:
        connection = self._connection
        connection.socket.disable_monitor()
        connection.monitor.close(0)
        connection.socket.close(linger_ms)

    def _wait(self, timeout_s: float, wake: Any) -> bool:
        """Wait for the node or for `wake`; whether that can be read."""
        poller = zmq.Poller()
        poller.register(self._connection.socket, zmq.POLLIN)
        if wake is not None:
            poller.register(wake, zmq.POLLIN)
        ready = dict(poller.poll(max(1, round(1000 * timeout_s))))
        return any(key is not self._connection.socket for key in ready)

    def _listen(self) -> None:
        """Take all that the node has said."""
        for _ in range(_QUEUED):
            try:
                parts = self._connection.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode_from_node(b"".join(parts))
            except RemoteWireError:
                self.malformed += 1
                continue
            self._heed(message)

    def _heed(self, message: FromNode) -> None:
        connection = self._connection
        connection.heard_s = time.monotonic()
        connection.answered = True
        match message:
            case Ping():
                self._say(Pong(message.ping_ns, self._clock_ns()))
            case Ack():
                connection.acknowledged = max(connection.acknowledged, message.sequence)
                self._send_waiting()
            case Ready():
                self._begin(connection, message.window)
            case Who():
                connection.window = 0
                connection.hello_s = float("-inf")
            case Refuse():
                connection.window = 0
                version = "it speaks another version: update both"
                busy = "it follows another sender with the same key: give each its own key, and its own port"
                connection.trouble = version if message.reason == "version" else busy

    def _begin(self, connection: _Connection, window: int) -> None:
        if not connection.window:
            log.info("the node at %s takes frames", self._endpoint)
        connection.window = window
        connection.acknowledged = self._sequence
        if self._faulty:
            self._say(Fault())
        self._send_waiting()

    def _tend(self) -> None:
        """What is due: hello, a sign of life, a word in the log, a new connection."""
        connection, now_s = self._connection, time.monotonic()
        self._note_trouble(connection)
        if not connection.window and now_s - connection.hello_s >= HELLO_PERIOD_S and self._say(self._hello):
            connection.hello_s = now_s
        if connection.window and now_s - connection.sent_s >= ALIVE_PERIOD_S:
            self._say(Alive())
        if not connection.window and now_s - self._logged_s >= LOG_PERIOD_S:
            self._logged_s = now_s
            log.warning("no link to the node at %s: %s", self._endpoint, connection.trouble)
        if now_s - connection.heard_s > (SILENCE_S if connection.answered else CONNECTING_S):
            if connection.window:
                log.warning("the node at %s has been silent for %.0f s; connecting anew", self._endpoint, SILENCE_S)
            self._disconnect(0)
            self._connection = self._connect()
            self._connection.trouble = connection.trouble

    def _note_trouble(self, connection: _Connection) -> None:
        from zmq.utils.monitor import recv_monitor_message  # it imports asyncio

        while connection.monitor.poll(0):
            event = recv_monitor_message(connection.monitor, zmq.NOBLOCK)["event"]
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                connection.trouble = "it refuses this sender's key: is it the one that `curve.sender` names there?"
            elif connection.trouble == "nobody answers":
                connection.trouble = "something is there, and does not answer: is `curve.node` its key?"

    def _send_waiting(self) -> None:
        """Send the frame that waits, if the window has room."""
        connection = self._connection
        if self._waiting is None or not self._sequence - connection.acknowledged < connection.window:
            return
        frame, captured_ns = self._waiting
        if self._send(encode_frame(frame, sequence=self._sequence + 1, captured_ns=captured_ns)):
            self._sequence += 1
            self.sent += 1
            self._waiting = None

    def _say(self, message: Control) -> bool:
        return self._send(encode(message))

    def _send(self, data: bytes) -> bool:
        """Whether ZeroMQ has taken it; it takes nothing while there is no connection."""
        try:
            self._connection.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._connection.sent_s = time.monotonic()
        return True
