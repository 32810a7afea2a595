"""One node that the proxy listens to: a socket of its own, so that no node can speak for another."""

import logging
from contextlib import suppress
from typing import Final

import zmq

from skelanon.stream.errors import PublishError
from skelanon.stream.wire import MAX_MESSAGE_BYTES, WireError, parse_topic, topic

from .plan import NodePlan

log = logging.getLogger(__name__)

SILENCE_S: Final = 5.0
"""A node says something every second. After so long the connection is made anew: ZeroMQ gives up on some for ever."""
_QUEUED: Final = 1000


class Upstream:
    """Takes in what one node publishes of its streams. Created, used and closed by one thread.

    The proxy does not read messages: that they are anonymous is the node's to see to, and which node it is, its key
    proves. What is checked is their form: two parts, a size within the wire's limits, a topic of the node's streams.
    Raises PublishError where the address is none.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", name: str, plan: NodePlan, now_s: float) -> None:
        self.name = name
        self.plan = plan
        self.forwarded = 0
        self.malformed = 0
        """Messages that were dropped for their form."""
        self.heard_s = now_s
        self.silent = True
        """Nothing has come yet, or for long."""
        self._streams = frozenset(plan.streams)
        self._connected_s = now_s
        self.socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.IPV6, int("[" in plan.endpoint))
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, _QUEUED)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        if plan.keys is not None:
            self.socket.curve_publickey, self.socket.curve_secretkey = plan.keys.public, plan.keys.secret
            self.socket.curve_serverkey = plan.keys.server
        for stream in plan.streams:
            self.socket.subscribe(topic(stream, "frame").removesuffix(b"frame"))
        try:
            self.socket.connect(plan.endpoint)
        except zmq.ZMQError as error:
            self.socket.close()
            raise PublishError(f"`nodes.{name}.endpoint` {plan.endpoint}: {error.strerror}") from error

    def receive(self, now_s: float) -> tuple[str, bytes, bytes] | None:
        """Stream, topic and content of the next message that may pass, if one is there."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            stream = self._stream_of(parts)
            if stream is None:
                self.malformed += 1
                continue
            if self.silent:
                log.info("node %s is heard", self.name)
                self.silent = False
            self.heard_s = now_s
            self.forwarded += 1
            return stream, parts[0], parts[1]

    def ask_for_schema(self, stream: str) -> None:
        """Have the node send a schema soon, as to any new subscriber; the subscriptions stay as they are."""
        name = topic(stream, "schema")
        self.socket.subscribe(name)
        self.socket.unsubscribe(name)

    def tend(self, now_s: float) -> None:
        """Connect anew after long silence, which is logged once."""
        if now_s - max(self.heard_s, self._connected_s) < SILENCE_S:
            return
        if not self.silent or self._connected_s <= self.heard_s:
            log.warning("node %s has been silent for %.0f s", self.name, now_s - self.heard_s)
        self.silent = True
        self._connected_s = now_s
        with suppress(zmq.ZMQError):
            self.socket.disconnect(self.plan.endpoint)
        self.socket.connect(self.plan.endpoint)

    def close(self) -> None:
        """Leave the node."""
        self.socket.close()

    def _stream_of(self, parts: list[bytes]) -> str | None:
        if len(parts) != 2 or len(parts[1]) > MAX_MESSAGE_BYTES:
            return None
        try:
            stream, _ = parse_topic(parts[0])
        except WireError:
            return None
        return stream if stream in self._streams else None
