"""The yardstick for latency: one PUB socket in a process of its own, at sensor rate, and nothing else.

`python -m skelanon.cli.bench.relay ENDPOINT BYTES` sends two-part messages of the size of a node's. The second part
begins with the time of sending, 8 bytes, nanoseconds since the Unix epoch.
"""

import os
import sys
import time
from collections.abc import Iterator

import zmq

from skelanon.sensors.pacing import Pacer
from skelanon.stream.wire import topic

from .daemon import STREAM
from .plan import LIFETIME_S, RATE_HZ
from .workplace import PATIENCE_S, Child, Workplace

_TIME_BYTES = 8


def send_for_ever(endpoint: str, size: int) -> None:
    """Publish until the process is ended, for one minute at most."""
    name, rest = topic(f"{STREAM}-0", "frame"), os.urandom(size - _TIME_BYTES)
    pacer = Pacer(RATE_HZ)
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.bind(endpoint)
        for _ in range(round(LIFETIME_S * RATE_HZ)):
            pacer.wait(1000)
            socket.send_multipart((name, time.time_ns().to_bytes(_TIME_BYTES, "little") + rest))


def relay(work: Workplace, endpoint: str, size: int) -> Child:
    """The sending process."""
    return work.start("skelanon.cli.bench.relay", endpoint, str(size))


def delays_us(child: Child, endpoint: str) -> Iterator[float]:
    """From each message's sending to its arrival here, as they arrive."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RCVTIMEO, 100)
        socket.subscribe(b"")
        socket.connect(endpoint)
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                _, message = socket.recv_multipart()
            except zmq.Again:
                child.check(deadline_s)
                continue
            now_ns = time.time_ns()
            yield (now_ns - int.from_bytes(message[:_TIME_BYTES], "little")) / 1e3


if __name__ == "__main__":
    send_for_ever(sys.argv[1], int(sys.argv[2]))
