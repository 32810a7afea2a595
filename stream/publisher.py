"""The socket. What goes through it is an AnonymousFrame, a schema or a status: there is no other way in."""

import secrets
import time
from collections.abc import Callable
from typing import Final

import zmq

from skelanon.configs.schema import PublishSettings
from skelanon.export.bundle import Bundle
from skelanon.sensors.curve import CurveServer, load_clients
from skelanon.sensors.endpoint import is_local, why_taken
from skelanon.sensors.errors import LinkError
from skelanon.sensors.keys import load_key_pair

from .anonymous import AnonymousFrame
from .errors import PublishError, cannot_publish
from .wire import StatusMessage, encode_frame, encode_schema, encode_status, schema_of, topic

_POLLIN: Final = int(zmq.POLLIN)  # the enum's own & is slow
LINGER_MS: Final = 300
PATIENT_LINGER_MS: Final = 5000
PAUSE_S: Final = 0.001
MAX_SUBSCRIPTIONS: Final = 64
"""Handled in one go, so that no flood of them holds up the frames."""
GREETING_PERIOD_S: Final = 0.1
"""A schema goes to new subscribers, and with them to all, at most once in so long."""
MAX_UPSTREAM_BYTES: Final = 1024
"""Of a message from a subscriber: room for CURVE's handshake. ZeroMQ keeps memory for each byte of a prefix."""


class Publisher:
    """Publishes the streams of one node on an XPUB socket. Created, used and closed by one thread.

    lossless: wait for subscribers that are behind instead of dropping for them; `give_up` ends such a wait.
    Raises PublishError where the address is not allowed or keys are missing, AddressError where it is in use.
    """

    def __init__(
        self,
        streams: list[str],
        bundle: Bundle,
        settings: PublishSettings,
        *,
        lossless: bool = False,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self.epoch = secrets.randbits(63)
        self._streams = streams
        self._sequences = [0] * len(streams)
        self._topics = [topic(stream, "frame") for stream in streams]
        self._schemas = [
            (topic(stream, "schema"), encode_schema(schema_of(bundle, stream, self.epoch))) for stream in streams
        ]
        self._give_up = give_up
        self._subscribers = [0] * len(streams)
        self._newcomers: set[int] = set()
        """Streams whose new subscribers wait for the schema."""
        self._greeted_s = -GREETING_PERIOD_S
        self.closed = False
        self._bind(settings, lossless)

    def _bind(self, settings: PublishSettings, lossless: bool) -> None:
        try:
            local = is_local(settings.endpoint)
        except LinkError as error:
            raise PublishError(str(error)) from error
        if not local and settings.curve is None:
            raise PublishError(
                f"`publish.endpoint` {settings.endpoint} can be reached by other machines: it needs `publish.curve`. "
                "Make keys with: skelanon keys new NAME"
            )
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._curve: CurveServer | None = None
        try:
            self._socket.setsockopt(zmq.IPV6, int("[" in settings.endpoint))
            self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_UPSTREAM_BYTES)
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._socket.setsockopt(zmq.XPUB_NODROP, int(lossless))
            if (reason := why_taken(settings.endpoint)) is not None:
                raise cannot_publish(settings.endpoint, reason)
            if settings.curve is not None:
                clients = load_clients(settings.curve.clients)
                self._curve = CurveServer(
                    self._context, self._socket, load_key_pair(settings.curve.secret_key), clients
                )
            self._socket.bind(settings.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise cannot_publish(settings.endpoint, error.strerror) from error
        except PublishError:
            self.close()
            raise
        except LinkError as error:
            self.close()
            raise PublishError(str(error)) from error
        self.endpoint: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def subscribers(self) -> int:
        """Subscriptions to the frames of the stream that has fewest."""
        return min(self._subscribers)

    def subscriptions(self, stream: int) -> int:
        """Subscriptions to the frames of a stream, given by its number."""
        return self._subscribers[stream]

    def allow(self, folder: str) -> int:
        """Let those in, from now on, whose keys lie in a folder; returns how many. From any thread.

        Who is in already stays until the connection ends. Raises PublishError, and then nothing has changed.
        """
        if self._curve is None:
            raise PublishError("`publish.curve` is not set: there is nobody to allow")
        try:
            return self._curve.allow(load_clients(folder))
        except LinkError as error:
            raise PublishError(str(error)) from error

    @property
    def refused(self) -> int:
        """Connections refused so far: of keys that are not allowed, or that do not speak CURVE with the node's key."""
        return self._curve.refused if self._curve is not None else 0

    def send(self, stream: int, frame: AnonymousFrame, dropped: int = 0) -> None:
        """Publish one frame of a stream, given by its number. Raises TypeError for anything but an AnonymousFrame."""
        message = encode_frame(
            frame,
            stream=self._streams[stream],
            epoch=self.epoch,
            sequence=self._sequences[stream],
            published_ns=time.time_ns(),
            dropped=dropped,
        )
        self._sequences[stream] += 1
        self._send(self._topics[stream], message)

    def send_schema(self, stream: int) -> None:
        """Publish what the frames of a stream mean."""
        self._send(*self._schemas[stream])

    def send_status(self, stream: int, status: StatusMessage) -> None:
        """Publish how a stream is doing."""
        self._send(topic(self._streams[stream], "status"), encode_status(status))

    def serve_subscriptions(self) -> None:
        """Greet new subscriptions with the schema, and log refused handshakes. Call it often; it never blocks."""
        for _ in range(MAX_SUBSCRIPTIONS):
            if not _readable(self._socket):
                break
            message = self._socket.recv(zmq.NOBLOCK)
            if message[:1] in (b"\0", b"\1"):  # subscribers may send other things, which mean nothing here
                self._note_subscription(message[1:], subscribed=message[:1] == b"\1")
        now_s = time.monotonic()
        if self._newcomers and now_s - self._greeted_s >= GREETING_PERIOD_S:
            self._greeted_s = now_s
            for stream in self._newcomers:
                self.send_schema(stream)
            self._newcomers.clear()
        if self._curve is not None:
            self._curve.log_refusals()

    def _note_subscription(self, prefix: bytes, *, subscribed: bool) -> None:
        for stream, frame_topic in enumerate(self._topics):
            if frame_topic.startswith(prefix):
                self._subscribers[stream] += 1 if subscribed else -1
            if subscribed and self._schemas[stream][0].startswith(prefix):
                self._newcomers.add(stream)

    def close(self, *, patient: bool = False) -> None:
        """Send what is queued, for at most 0.3 s (5 s if patient), and free the address. May be called twice."""
        if self.closed:
            return
        self.closed = True
        self._socket.setsockopt(zmq.LINGER, PATIENT_LINGER_MS if patient else LINGER_MS)
        if self._curve is not None:
            self._curve.close()
        self._socket.close()
        self._context.term()

    def _send(self, topic_: bytes, message: bytes) -> None:
        while True:
            try:
                self._socket.send_multipart((topic_, message), zmq.NOBLOCK)
            except zmq.Again:  # only where lossless: a subscriber is behind
                if self._give_up():
                    return
                time.sleep(PAUSE_S)  # polling for POLLOUT would return at once: the other subscribers are ready
            else:
                return


def _readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _POLLIN)
