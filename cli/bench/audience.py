"""Many subscribers in one thread: each counts frames, and reads nothing else of them."""

import time
from contextlib import suppress
from types import TracebackType

import zmq

from .tap import Tap

_EVERY = 16
"""Messages of the first subscriber after which the others are looked after."""
_QUIET_S = 0.3


class Audience(Tap):
    """A Tap, and more subscribers to the same prefix. They queue without bound: what is lost, the sender has lost."""

    def __init__(self, endpoint: str, prefix: bytes, subscribers: int) -> None:
        super().__init__(endpoint, prefix, queue=0)
        self._others = [self._subscribed(endpoint, prefix, queue=0) for _ in range(subscribers - 1)]
        self.counts = [0] * len(self._others)
        """Frames that each of the others has received."""
        self._turns = 0

    def receive(self) -> list[bytes] | None:
        message = super().receive()
        self._turns += 1
        if message is None or self._turns % _EVERY == 0:
            self._count()
        return message

    def finish(self) -> None:
        """Receive what is still on its way to the others."""
        quiet_s = time.monotonic()
        while time.monotonic() - quiet_s < _QUIET_S:
            if self._count():
                quiet_s = time.monotonic()

    def _count(self) -> int:
        """Messages that were waiting."""
        found = 0
        for number, socket in enumerate(self._others):
            with suppress(zmq.Again):
                while True:
                    topic, _ = socket.recv_multipart(zmq.NOBLOCK)
                    found += 1
                    self.counts[number] += topic.endswith(b"/frame")
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for socket in self._others:
            socket.close(linger=0)
        super().__exit__(kind, error, trace)
