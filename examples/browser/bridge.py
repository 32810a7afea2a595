"""Shows the streams of a node in a browser: the page, and a WebSocket that hands on the wire's messages as they are.

    pip install aiohttp
    python bridge.py                                   # then open http://127.0.0.1:8080
    python bridge.py tcp://10.0.0.5:7400 --key viewer.key_secret --node-key node.key

Whoever opens the page sees the streams: it is on this machine only, unless `--host` says otherwise. For other machines
put a web server with TLS and passwords in front of it, and give its name with `--name`.
"""

import argparse
import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import zmq
import zmq.asyncio
from aiohttp import WSMsgType, web

from skelanon.stream import ClientKeys, load_client_keys

PAGE: Final = Path(__file__).with_name("index.html")
MAX_MESSAGE_BYTES: Final = 128 * 1024
QUEUED: Final = 60
"""Messages that wait for a slow browser; beyond them it misses some, and sees it in `sequence`."""

NODE: Final = web.AppKey("node", str)
KEYS: Final = web.AppKey("keys", object)
HOSTS: Final = web.AppKey("hosts", set)


def create_app(node: str, curve: ClientKeys | None = None, hosts: Sequence[str] = ()) -> web.Application:
    """The page and its WebSocket. hosts: names that browsers may know this machine by, besides those of loopback."""
    app = web.Application()
    app[NODE], app[KEYS] = node, curve
    app[HOSTS] = {"127.0.0.1", "localhost", "[::1]", *hosts}
    app.add_routes([web.get("/", _page), web.get("/stream", _stream)])
    return app


async def _page(request: web.Request) -> web.StreamResponse:
    _check_source(request)
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
    return web.FileResponse(PAGE, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


async def _stream(request: web.Request) -> web.StreamResponse:
    """Hand messages on, one subscription for each browser: topic, a zero byte, the MessagePack map."""
    _check_source(request)
    client = web.WebSocketResponse(heartbeat=20, max_msg_size=1024, compress=False)
    await client.prepare(request)
    node = zmq.asyncio.Context.instance().socket(zmq.SUB)
    try:
        _connect(node, request.app[NODE], request.app[KEYS])
        sending = asyncio.create_task(_send(node, client))
        async for message in client:  # browsers have nothing to say; this ends when one leaves
            if message.type is WSMsgType.ERROR:
                break
        sending.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await sending
    finally:
        node.close(linger=0)
    return client


def _connect(node: zmq.asyncio.Socket, endpoint: str, keys: object) -> None:
    node.setsockopt(zmq.RCVHWM, QUEUED)
    node.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
    if isinstance(keys, ClientKeys):
        node.curve_publickey, node.curve_secretkey, node.curve_serverkey = keys.public, keys.secret, keys.server
    node.subscribe(b"skelanon/1/")
    node.connect(endpoint)


async def _send(node: zmq.asyncio.Socket, client: web.WebSocketResponse) -> None:
    while True:
        parts = await node.recv_multipart()
        if len(parts) == 2:
            await client.send_bytes(b"\0".join(parts))


def _check_source(request: web.Request) -> None:
    """Refuse other sites' pages, which a browser lets talk to this machine, and names that they made lead here."""
    name, _, port = request.host.rpartition(":")
    host = name if port.isdecimal() else request.host
    origin = request.headers.get("Origin")
    if host not in request.app[HOSTS] or origin not in (None, f"http://{request.host}", f"https://{request.host}"):
        raise web.HTTPForbidden(text="this page is for this machine's own browser")


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows the streams of a skelanon node in a browser.")
    parser.add_argument("node", nargs="?", default="tcp://127.0.0.1:7400", help="ZeroMQ address of the node")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--name", action="append", default=[], help="a name of this machine that browsers use")
    parser.add_argument("--key", help="CURVE: your .key_secret file")
    parser.add_argument("--node-key", help="CURVE: the node's .key file")
    options = parser.parse_args()
    if (options.key is None) != (options.node_key is None):
        parser.error("--key and --node-key go together")
    curve = load_client_keys(options.key, options.node_key) if options.key else None
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app = create_app(options.node, curve, [options.host, *options.name])
    web.run_app(app, host=options.host, port=options.port, access_log=None)


if __name__ == "__main__":
    main()
