"""The socket of everybody who listens to a node: bounded, and connected anew where ZeroMQ would wait for ever."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import zmq

from skelanon.sensors.keys import ClientKeys

from .wire import MAX_MESSAGE_BYTES

QUEUED: Final = 1000
"""Messages that wait to be read."""
RENEW_AFTER_S: Final = (1.5, 3.0, 5.0)
"""Silence, without even a status, after which the connection is made anew: at first, then, and from then on. A slow
network needs more time for a handshake than a node on the same machine."""


class Inlet:
    """A SUB socket, connected to one endpoint. Created, used and closed by one thread. Raises zmq.ZMQError.

    prefixes: of the topics that are subscribed to.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        prefixes: Iterable[bytes],
        keys: ClientKeys | None,
    ) -> None:
        self._endpoint = endpoint
        self._heard_s, self._renewals = time.monotonic(), 0
        self.socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        try:
            self._connect(prefixes, keys)
        except zmq.ZMQError:
            self.close()
            raise

    def receive(self) -> list[bytes] | None:
        """The parts of the next message, if one is there."""
        try:
            parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._heard_s, self._renewals = time.monotonic(), 0
        return parts

    def renew_if_silent(self) -> bool:
        """Connect anew after long silence; whether it was due.

        ZeroMQ itself connects again after a loss, but never after an error of protocol: a message over ZMQ_MAXMSGSIZE,
        or another program that answered at the node's port for a moment.
        """
        now_s = time.monotonic()
        if now_s - self._heard_s < RENEW_AFTER_S[min(self._renewals, len(RENEW_AFTER_S) - 1)]:
            return False
        self._heard_s, self._renewals = now_s, self._renewals + 1
        with suppress(zmq.ZMQError):
            self.socket.disconnect(self._endpoint)
        self.socket.connect(self._endpoint)
        return True

    def close(self) -> None:
        """Leave. May be called twice."""
        self.socket.close(linger=0)

    def _connect(self, prefixes: Iterable[bytes], keys: ClientKeys | None) -> None:
        self.socket.setsockopt(zmq.IPV6, int("[" in self._endpoint))
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, QUEUED)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        # No ZMQ_HEARTBEAT_IVL: with it, libzmq aborts the process of a subscriber that is behind (libzmq #3937, #4767).
        if keys is not None:
            self.socket.curve_publickey, self.socket.curve_secretkey = keys.public, keys.secret
            self.socket.curve_serverkey = keys.server
        for prefix in prefixes:
            self.socket.subscribe(prefix)
        self.socket.connect(self._endpoint)
