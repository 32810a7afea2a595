"""One node that the proxy listens to: a socket of its own, so that no node can speak for another."""

import logging

import zmq

from skelanon.stream.errors import PublishError
from skelanon.stream.inlet import RENEW_AFTER_S, Inlet
from skelanon.stream.wire import MAX_MESSAGE_BYTES, WireError, parse_topic, topic

from .plan import NodePlan

log = logging.getLogger(__name__)


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
        self._told = False
        """Whether its silence has been logged."""
        prefixes = [topic(stream, "frame").removesuffix(b"frame") for stream in plan.streams]
        try:
            self._inlet = Inlet(context, plan.endpoint, prefixes, plan.keys)
        except zmq.ZMQError as error:
            raise PublishError(f"`nodes.{name}.endpoint` {plan.endpoint}: {error.strerror}") from error

    @property
    def socket(self) -> "zmq.Socket[bytes]":
        """For a poll alone."""
        return self._inlet.socket

    def receive(self, now_s: float) -> tuple[str, bytes, bytes] | None:
        """Stream, topic and content of the next message that may pass, if one is there."""
        while True:
            parts = self._inlet.receive()
            if parts is None:
                return None
            stream = self._stream_of(parts)
            if stream is None:
                self.malformed += 1
                continue
            if self.silent:
                log.info("node %s is heard", self.name)
                self.silent = self._told = False
            self.heard_s = now_s
            self.forwarded += 1
            return stream, parts[0], parts[1]

    def ask_for_schema(self, stream: str) -> None:
        """Have the node send a schema soon, as to any new subscriber; the subscriptions stay as they are."""
        name = topic(stream, "schema")
        self._inlet.socket.subscribe(name)
        self._inlet.socket.unsubscribe(name)

    def tend(self, now_s: float) -> None:
        """Connect anew after silence, which is logged once."""
        self._inlet.renew_if_silent()
        if now_s - self.heard_s > RENEW_AFTER_S[0] and not self._told:
            self.silent = self._told = True
            log.warning("node %s has been silent for %.1f s", self.name, now_s - self.heard_s)

    def close(self) -> None:
        """Leave the node."""
        self._inlet.close()

    def _stream_of(self, parts: list[bytes]) -> str | None:
        if len(parts) != 2 or len(parts[1]) > MAX_MESSAGE_BYTES:
            return None
        try:
            stream, _ = parse_topic(parts[0])
        except WireError:
            return None
        return stream if stream in self._streams else None
