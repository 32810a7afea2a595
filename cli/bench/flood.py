"""The yardstick for load: a bare socket that sends as much as its core can, and waits where a subscriber is behind.

`python -m skelanon.cli.bench.flood ENDPOINT BYTES STREAMS SUBSCRIBERS SECONDS` sends two-part messages of the size of a
node's, one stream after the other; the last message says how many they were. It stays until it is ended.
"""

import os
import sys
import threading
import time
from typing import Final

import zmq

from skelanon.stream.wire import topic

from .daemon import STREAM
from .plan import LIFETIME_S
from .workplace import Child, Workplace

END: Final = b"skelanon/1/end"
_PAUSE_S: Final = 0.0005
"""For a subscriber to catch up; its queue holds more than can be sent in that time."""


def send_for(endpoint: str, size: int, streams: int, subscribers: int, seconds: float) -> None:
    """Publish for so long, once all have subscribed. The last message is `END` with the rate, in messages a second."""
    topics, message = [topic(f"{STREAM}-{number}", "frame") for number in range(streams)], os.urandom(size)
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.setsockopt(zmq.RCVTIMEO, round(1e3 * LIFETIME_S))
        socket.bind(endpoint)
        for _ in range(subscribers):
            socket.recv()
        sent, began_s = 0, time.monotonic()
        while time.monotonic() - began_s < seconds:
            for name in topics:
                _send(socket, name, message, began_s + LIFETIME_S)
            sent += len(topics)
        rate_hz = sent / (time.monotonic() - began_s)
        _send(socket, END, f"{rate_hz:.1f} {sent}".encode(), began_s + LIFETIME_S)
        threading.Event().wait(LIFETIME_S)  # whoever is behind loses what it has not read when the connection ends


def _send(socket: "zmq.Socket[bytes]", name: bytes, message: bytes, deadline_s: float) -> None:
    while True:
        try:
            socket.send_multipart((name, message), zmq.NOBLOCK)
        except zmq.Again:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def flood(work: Workplace, endpoint: str, size: int, *, streams: int, subscribers: int, seconds: float) -> Child:
    """The sending process."""
    return work.start("skelanon.cli.bench.flood", endpoint, str(size), str(streams), str(subscribers), str(seconds))


if __name__ == "__main__":
    send_for(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
