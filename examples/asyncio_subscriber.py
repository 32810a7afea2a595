"""The frames of a node, for programs that use asyncio.

    python asyncio_subscriber.py tcp://127.0.0.1:7400

Needs skelanon alone. `frames` is meant to be copied: a `Follower` checks and follows the messages, as it does for
`Subscriber`, and only the waiting is asyncio's.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

import zmq
import zmq.asyncio

from skelanon.stream import ClientKeys, Event, Follower, ReceivedFrame, load_client_keys

MAX_MESSAGE_BYTES: Final = 128 * 1024
POLL_MS: Final = 200
"""How often streams are looked for that have fallen silent."""

log = logging.getLogger(__name__)


async def frames(
    endpoint: str,
    streams: Sequence[str] = (),
    *,
    curve: ClientKeys | None = None,
    stall_after_s: float = 2.0,
    on_event: Callable[[Event], None] = lambda event: log.warning("%s", event),
) -> AsyncIterator[ReceivedFrame]:
    """Every frame of these streams, or of all; gaps, restarts and stalls are told to `on_event`.

    It never ends by itself: a node that is away may come back. Close it (`contextlib.aclosing`) to leave.
    """
    follower = Follower(streams, on_event, stall_after_ns=int(stall_after_s * 1e9), now_ns=time.monotonic_ns())
    with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        if curve is not None:
            socket.curve_publickey, socket.curve_secretkey = curve.public, curve.secret
            socket.curve_serverkey = curve.server
        for stream in streams or ("",):
            socket.subscribe(f"skelanon/1/{stream}/" if stream else "skelanon/1/")
        socket.connect(endpoint)
        while True:
            if not await socket.poll(0):  # nothing is left to read
                follower.find_stalls(time.monotonic_ns())
                if not await socket.poll(POLL_MS):
                    continue
            parts = await socket.recv_multipart()
            taken = follower.take(parts, time.time_ns(), time.monotonic_ns())
            if taken is not None and taken[1] is not None:
                yield taken[1]


async def watch(endpoint: str, streams: Sequence[str], curve: ClientKeys | None) -> None:
    """Say once a second how many frames came; other tasks of a program run beside it."""
    counts: dict[str, int] = {}

    async def count() -> None:
        async for frame in frames(endpoint, streams, curve=curve):
            counts[frame.stream] = counts.get(frame.stream, 0) + 1

    async def report() -> None:
        while True:
            await asyncio.sleep(1)
            log.info("%s", ", ".join(f"{stream}: {n} frames" for stream, n in sorted(counts.items())) or "nothing yet")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(count())
        tasks.create_task(report())


def main() -> None:
    """Watch until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Counts the frames of a skelanon node, with asyncio.")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:7400", help="ZeroMQ address of the node")
    parser.add_argument("streams", nargs="*", help="only these")
    parser.add_argument("--key", help="CURVE: your .key_secret file")
    parser.add_argument("--node-key", help="CURVE: the node's .key file")
    options = parser.parse_args()
    if (options.key is None) != (options.node_key is None):
        parser.error("--key and --node-key go together")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    curve = load_client_keys(options.key, options.node_key) if options.key else None
    with suppress(KeyboardInterrupt):
        asyncio.run(watch(options.endpoint, options.streams, curve))


if __name__ == "__main__":
    main()
