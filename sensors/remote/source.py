"""The sensor: raw frames of a sender at another machine, over a socket that the node binds."""

import time
from typing import Final

import zmq

from skelanon.configs.schema import RemoteSettings
from skelanon.sensors.curve import AllowList, CurveServer
from skelanon.sensors.endpoint import set_limits, why_taken
from skelanon.sensors.errors import SensorError
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.keys import load_key_pair, load_public_key
from skelanon.sensors.sensor import Sensor

from .receiver import Receiver, body_frame
from .security import refuse_open
from .wire import MAX_MESSAGE_BYTES, encode

_SLICE_S: Final = 0.05
"""Longest wait in ZeroMQ: pings and refusals are looked after in between."""
_QUEUED: Final = 64
"""Messages of one connection on either side: more than a sender's window."""
_KEEPALIVE_S: Final = 10
"""A connection whose other end is gone is closed after two or three times as long."""


class Remote(Sensor):
    """Bodies that a sender sees: `skelanon capture`, or any program that follows docs/remote.md.

    `open` binds the address and returns; frames come once a sender has connected. A sender that goes is no error:
    nothing comes until it is back, and then a discontinuity.
    Raises LinkError where the address is open to others without keys, or a key file is of no use.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self.period_s = 1 / settings.rate_hz
        self.endpoint = settings.endpoint
        """Where it is bound; with its port once it is open."""
        self._settings = settings
        self._socket: zmq.Socket[bytes] | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._curve: CurveServer | None = None
        self.receiver = Receiver(settings.max_delay_s)
        refuse_open(settings.endpoint, settings.curve is not None, "the node and its sender")
        if settings.curve is not None:
            self._keys = load_key_pair(settings.curve.secret_key)
            self._sender = load_public_key(settings.curve.sender)

    def open(self) -> None:
        self.close()
        endpoint = self._settings.endpoint
        if (reason := why_taken(endpoint)) is not None:
            raise SensorError(f"cannot wait for a sender at {endpoint}: {reason}")
        self.receiver = Receiver(self._settings.max_delay_s)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._bind(self._context, self._socket)
        except zmq.ZMQError as error:
            self.close()
            raise SensorError(f"cannot wait for a sender at {endpoint}: {error.strerror}") from error

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes]) -> None:
        socket.setsockopt(zmq.IPV6, int("[" in self._settings.endpoint))
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, _QUEUED)
        socket.setsockopt(zmq.SNDHWM, _QUEUED)
        set_limits(socket, MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
        socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_S // 2)
        socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        if self._settings.curve is not None:
            allowed = AllowList([self._sender], "`curve.sender`")
            self._curve = CurveServer(context, socket, self._keys, allowed)
        socket.bind(self._settings.endpoint)
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def refused(self) -> int:
        """Connections refused since it was opened."""
        return self._curve.refused if self._curve is not None else 0

    def read(self, timeout_ms: int) -> BodyFrame | None:
        if self._socket is None:
            raise SensorError("the remote sensor is not open: call open() before read()")
        deadline_s = time.monotonic() + timeout_ms / 1000
        while True:
            self.receiver.tend(time.perf_counter_ns())
            self._send(self._socket)
            if self._curve is not None:
                self._curve.log_refusals()
            frame = self._take(self._socket)
            if frame is not None:
                return frame
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._socket.poll(round(1000 * min(left_s, _SLICE_S)) or 1)

    def close(self) -> None:
        if self._curve is not None:
            self._curve.close()
            self._curve = None
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None
        if self._context is not None:
            self._context.term()
            self._context = None

    def _take(self, socket: "zmq.Socket[bytes]") -> BodyFrame | None:
        """The frame of the next message, if there is a message, and if it is one."""
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        arrived_ns, now_ns = time.perf_counter_ns(), time.time_ns()
        peer, data = parts[0], parts[1] if len(parts) == 2 else b""  # which is no message
        try:
            taken = self.receiver.take(peer, data, arrived_ns)
        finally:
            self._send(socket)
        if taken is None:
            return None
        frame, captured_ns, discontinuity = taken
        return body_frame(frame, max(now_ns - (arrived_ns - captured_ns), 0), discontinuity)

    def _send(self, socket: "zmq.Socket[bytes]") -> None:
        """What the receiver has to say; ZeroMQ drops it where the other end is gone, or takes nothing."""
        for peer, message in self.receiver.outbox:
            socket.send_multipart((peer, encode(message)), zmq.NOBLOCK)
        self.receiver.outbox.clear()
