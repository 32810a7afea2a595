"""The socket that subscribers connect to: who is let in, what they may ask for, and binding it anew.

Bytes go through it; what they may be is for the Publisher and the proxy to say.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import zmq

from skelanon.sensors.camera_process.memory import resident_bytes
from skelanon.sensors.curve import AllowList, CurveServer
from skelanon.sensors.endpoint import set_limits, why_taken
from skelanon.sensors.keys import KeyPair

from .errors import PublishError, cannot_publish
from .subscriptions import Subscriptions

log = logging.getLogger(__name__)

LINGER_MS: Final = 300
PATIENCE_S: Final = 5.0
MAX_SUBSCRIPTIONS: Final = 512
"""Handled in one go, so that no flood of them holds up the frames."""
MAX_QUEUED: Final = 16
"""Of a connection's subscriptions; the others wait at the client. What is queued is in ZeroMQ's memory already."""
MAX_PLAIN_BYTES: Final = 192
MAX_CURVE_BYTES: Final = 512
"""Of a message from a subscriber: room for the longest topic, and for CURVE's handshake (about 270 bytes)."""
RENEWAL_S: Final = 2.0
"""How long a renewed socket tries to get its address back."""
MAX_GROWTH_BYTES: Final = 256 * 2**20
"""Of the process. ZeroMQ bounds a message's parts, but not how many of them a client may begin a message with."""
_LOOK_S: Final = 0.2
_PAUSE_S: Final = 0.01
_POLLIN: Final = int(zmq.POLLIN)  # the enum's own & is slow


@dataclass(frozen=True, slots=True)
class Admission:
    """The socket's own keys, and whom it lets in."""

    keys: KeyPair
    clients: AllowList


class Outlet:
    """An XPUB socket with a context of its own. Created, used and closed by one thread; `admit` is for any thread.

    topics: all that will ever be sent. admission: None is for addresses of this machine alone. lossless: sending
    raises zmq.Again where a subscriber is behind, instead of dropping for it.
    Raises PublishError where the address cannot be bound, AddressError where that may pass.
    """

    def __init__(
        self, endpoint: str, topics: Iterable[bytes], admission: Admission | None, *, lossless: bool = False
    ) -> None:
        self.endpoint = endpoint
        self.subscriptions = Subscriptions(topics)
        self.closed = False
        self.renewals = 0
        """How often it was bound anew."""
        self._admission = admission
        self._lossless = lossless
        self._next: Admission | None = None
        """To be taken up by the socket's own thread."""
        self._refused = 0
        self._memory_bytes = _held_bytes()
        self._looked_s = time.monotonic()
        self._curve: CurveServer | None = None
        self._context: zmq.Context[zmq.Socket[bytes]]
        self._socket: zmq.Socket[bytes]
        self._bind()

    @property
    def refused(self) -> int:
        """Connections refused so far: of keys that are not allowed, or that do not speak CURVE with the right key."""
        return self._refused + (self._curve.refused if self._curve is not None else 0)

    @property
    def socket(self) -> "zmq.Socket[bytes]":
        """For a poll alone; another one after a renewal."""
        return self._socket

    def send(self, topic: bytes, message: bytes) -> None:
        """Send one message to all who have subscribed to it. Raises zmq.Again where lossless and one is behind."""
        self._socket.send_multipart((topic, message), zmq.NOBLOCK)

    def serve(self) -> None:
        """Take note of subscriptions, log refusals, and renew where that is due. Call it often; it never waits long."""
        if self._next is not None:
            self._admission, self._next = self._next, None
            self._renew()
        if int(self._socket.getsockopt(zmq.EVENTS)) & _POLLIN:
            self._take_subscriptions()
        self._look_after_memory(time.monotonic())
        if self._curve is not None:
            self._curve.log_refusals()

    def admit(self, admission: Admission) -> int:
        """Let others in from now on; returns how many. From any thread.

        Who may stay stays, unless somebody may not, or the socket's own keys have changed: ZeroMQ asks for a key when a
        connection is made and never again, so that all connections are then cut, and those who may come back do.
        Raises PublishError where it has no keys, and admits everybody.
        """
        if self._admission is None:
            raise PublishError("`publish.curve` is not set: there is nobody to allow")
        current = self._admission
        stay = self._next is None and admission.keys == current.keys and admission.clients.covers(current.clients)
        if stay:
            self._admission.clients.become(admission.clients)
        else:
            self._next = admission
        return len(admission.clients)

    def close(self, patient: Callable[[], bool] = lambda: False) -> None:
        """Send what is queued, for at most 0.3 s, and free the address. May be called twice.

        While `patient`, wait, for at most 5 s, until all subscribers have left. When a connection ends, a subscriber
        that is more than its ZMQ_RCVHWM behind loses what waits in the kernel (libzmq 4.3.5, stream_engine_base).
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.closed and self.subscriptions.total and time.monotonic() < deadline_s and patient():
            self.serve()
            time.sleep(_PAUSE_S)
        self._end(LINGER_MS)

    def _end(self, linger_ms: int) -> None:
        if self.closed:
            return
        self.closed = True
        self._refused = self.refused
        if self._curve is not None:
            self._curve.close()
            self._curve.forget_refused()
        self._curve = None
        self._socket.close(linger_ms)
        self._context.term()

    def _take_subscriptions(self) -> None:
        for _ in range(MAX_SUBSCRIPTIONS):
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            client = _client(frame) if self._curve is not None else None
            if not self.subscriptions.take(frame.bytes, client, time.monotonic()):
                self._cut_off(client)
                return

    def _cut_off(self, client: str | None) -> None:
        """Get rid of one who asks too much: ZeroMQ cannot end one connection, so all are ended, and it stays out."""
        if self._admission is not None and client is not None:
            self._admission.clients.forget(client.encode())
            log.error("a client floods %s: its key %s is refused from now on", self.endpoint, client)
        else:
            log.error("a client floods %s: all connections are ended", self.endpoint)
        self._renew()

    def _look_after_memory(self, now_s: float) -> None:
        """End all connections where the process grows: there is no other sign of a message that goes on and on.

        Where something else has grown, subscribers have lost a few frames.
        """
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        growth = _held_bytes() - self._memory_bytes
        if growth > MAX_GROWTH_BYTES:
            log.error("memory has grown by %d MiB: all connections to %s are ended", growth >> 20, self.endpoint)
            self._renew()
            self._memory_bytes = _held_bytes()

    def _renew(self) -> None:
        """End all connections and bind again, at the same address, with the keys of now."""
        self._end(linger_ms=0)
        self.closed = False
        self.renewals += 1
        self.subscriptions.clear()
        deadline_s = time.monotonic() + RENEWAL_S
        while True:
            try:
                self._bind()
            except PublishError:
                if time.monotonic() > deadline_s:
                    raise
                self.closed = False
                time.sleep(_PAUSE_S)  # the kernel has not let go of the address yet
            else:
                return

    def _bind(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        try:
            self._socket.setsockopt(zmq.IPV6, int("[" in self.endpoint))
            set_limits(self._socket, MAX_PLAIN_BYTES if self._admission is None else MAX_CURVE_BYTES)
            self._socket.setsockopt(zmq.RCVHWM, MAX_QUEUED)
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._socket.setsockopt(zmq.XPUB_NODROP, int(self._lossless))
            if (reason := why_taken(self.endpoint)) is not None:
                raise cannot_publish(self.endpoint, reason)
            if self._admission is not None:
                self._curve = CurveServer(self._context, self._socket, self._admission.keys, self._admission.clients)
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise cannot_publish(self.endpoint, error.strerror) from error
        except PublishError:
            self.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _client(frame: zmq.Frame) -> str | None:
    """The public key of who sent a message; None where ZeroMQ itself says that a subscriber has gone."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return None


def _held_bytes() -> int:
    """Memory that the process holds; 0 where the system does not tell."""
    try:
        return resident_bytes()
    except OSError:
        return 0
