"""The socket. What goes through it is an AnonymousFrame, a schema or a status: there is no other way in."""

import secrets
import time
from collections.abc import Callable
from typing import Final, get_args

import zmq

from skelanon.configs.schema import CurveSettings, PublishSettings
from skelanon.export.bundle import Bundle
from skelanon.sensors.curve import load_clients
from skelanon.sensors.endpoint import is_local
from skelanon.sensors.errors import LinkError
from skelanon.sensors.keys import load_key_pair

from .anonymous import AnonymousFrame
from .errors import PublishError
from .outlet import Admission, Outlet
from .wire import Kind, StatusMessage, encode_frame, encode_schema, encode_status, schema_of, topic

PAUSE_S: Final = 0.001
GREETING_PERIOD_S: Final = 0.1
"""A schema goes to new subscribers, and with them to all, at most once in so long."""


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
        self._greeted_s = -GREETING_PERIOD_S
        self._outlet = _outlet(streams, settings, lossless)

    @property
    def endpoint(self) -> str:
        """Where it publishes, with its port."""
        return self._outlet.endpoint

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._outlet.closed

    @property
    def subscribers(self) -> int:
        """Subscriptions to the frames of the stream that has fewest."""
        return min(map(self.subscriptions, range(len(self._streams))))

    def subscriptions(self, stream: int) -> int:
        """Subscriptions to the frames of a stream, given by its number."""
        return self._outlet.subscriptions.counts[self._topics[stream]]

    def admit(self, settings: CurveSettings) -> int:
        """Take up other keys, the node's own and its clients', from now on; returns how many clients. From any thread.

        Where a client or the node's key is gone, all connections are soon cut; those who may come back do.
        Raises PublishError, and then nothing has changed.
        """
        return self._outlet.admit(_admission(settings))

    @property
    def refused(self) -> int:
        """Connections refused so far: of keys that are not allowed, or that do not speak CURVE with the node's key."""
        return self._outlet.refused

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
        """Greet new subscriptions with the schema, log refused handshakes, take up keys. Call it often.

        Raises AddressError where the address is lost while all connections are cut.
        """
        self._outlet.serve()
        newcomers = self._outlet.subscriptions.newcomers
        now_s = time.monotonic()
        if newcomers and now_s - self._greeted_s >= GREETING_PERIOD_S:
            self._greeted_s = now_s
            for stream, (schema_topic, _) in enumerate(self._schemas):
                if schema_topic in newcomers:
                    self.send_schema(stream)
            newcomers.clear()

    def close(self, patient: Callable[[], bool] = lambda: False) -> None:
        """Send what is queued and free the address; `patient` as in `Outlet.close`. May be called twice."""
        self._outlet.close(patient)

    def _send(self, topic_: bytes, message: bytes) -> None:
        while True:
            try:
                self._outlet.send(topic_, message)
            except zmq.Again:  # only where lossless: a subscriber is behind
                if self._give_up():
                    return
                time.sleep(PAUSE_S)  # polling for POLLOUT would return at once: the other subscribers are ready
            else:
                return


def _outlet(streams: list[str], settings: PublishSettings, lossless: bool) -> Outlet:
    try:
        local = is_local(settings.endpoint)
    except LinkError as error:
        raise PublishError(str(error)) from error
    if not local and settings.curve is None:
        raise PublishError(
            f"`publish.endpoint` {settings.endpoint} can be reached by other machines: it needs `publish.curve`. "
            "Make keys with: skelanon keys new NAME"
        )
    topics = [topic(stream, kind) for stream in streams for kind in get_args(Kind)]
    admission = _admission(settings.curve) if settings.curve is not None else None
    return Outlet(settings.endpoint, topics, admission, lossless=lossless)


def _admission(settings: CurveSettings) -> Admission:
    try:
        return Admission(load_key_pair(settings.secret_key), load_clients(settings.clients))
    except LinkError as error:
        raise PublishError(str(error)) from error
