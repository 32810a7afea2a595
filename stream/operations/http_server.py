"""A small HTTP server for a few pages: one thread, no lock, nothing that a client does reaches the node.

Whoever connects may cost it little: a request of at most 8 KiB, five seconds, one answer. Of 64 connections the oldest
gives way to a newcomer, so that a thousand that send nothing do not keep out one that asks. The thread rests between
rounds, which bounds what a flood of requests takes from the node.
"""

import ipaddress
import logging
import os
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from skelanon.stream.errors import AddressError

from .http_answer import END, MAX_REQUEST_BYTES, answer
from .pages import Pages

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 64
LIFETIME_S: Final = 5.0
"""Of a connection, from its being accepted on."""
REST_S: Final = 0.01
"""After each round."""
_ACCEPTED_A_ROUND: Final = 8
_POLL_S: Final = 0.1
_PIECE_BYTES: Final = 65536


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    until_s: float
    received: bytearray = field(default_factory=bytearray)
    unsent: memoryview | None = None
    """Of the answer, once there is one. Empty: the other side has it all, and shall hang up."""


class HttpServer(threading.Thread):
    """Answers GET and HEAD. endpoint: `ADDRESS:PORT`, port 0 for any. Made, started and closed by one thread.

    Raises AddressError where the address cannot be had.
    """

    def __init__(self, endpoint: str, pages: Pages) -> None:
        super().__init__(name="http", daemon=True)
        host, _, port = endpoint.rpartition(":")
        address = ipaddress.ip_address(host.strip("[]"))
        self._pages = pages
        self._loopback = address.is_loopback
        self._ended = threading.Event()
        self._open: dict[_Connection, None] = {}  # the oldest first
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        try:
            self._listener = socket.create_server((str(address), int(port)), family=family, backlog=MAX_CONNECTIONS)
        except OSError as error:
            reason = os.strerror(error.errno or 0)  # its own words repeat the address
            raise AddressError(f"cannot serve `metrics.endpoint` {endpoint}: {reason}") from error
        self._listener.setblocking(False)
        self.endpoint = f"{host}:{self._listener.getsockname()[1]}"
        if not self._loopback:
            log.warning(
                "`metrics.endpoint` %s can be reached by other machines, unencrypted; it shows when people are there",
                self.endpoint,
            )

    def run(self) -> None:
        """Serve until `close` is called."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(_POLL_S):
                    if key.data is None:
                        self._accept(selector)
                    elif key.data in self._open and not self._serve(selector, key.data):
                        self._drop(selector, key.data)
                now_s = time.monotonic()
                for connection in [one for one in self._open if one.until_s < now_s]:
                    self._drop(selector, connection)
                self._ended.wait(REST_S)
            for connection in list(self._open):
                self._drop(selector, connection)

    def close(self) -> None:
        """End the thread and free the address. May be called twice."""
        self._ended.set()
        if self.is_alive():
            self.join()
        self._listener.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        for _ in range(_ACCEPTED_A_ROUND):
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # the client is gone already, or the process has no descriptor left: then free one
                if self._open:
                    self._drop(selector, next(iter(self._open)))
                return
            accepted.setblocking(False)
            if len(self._open) >= MAX_CONNECTIONS:
                self._drop(selector, next(iter(self._open)))
            connection = _Connection(accepted, time.monotonic() + LIFETIME_S)
            self._open[connection] = None
            selector.register(accepted, selectors.EVENT_READ, connection)

    def _drop(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        del self._open[connection]
        selector.unregister(connection.socket)
        connection.socket.close()

    def _serve(self, selector: selectors.BaseSelector, connection: _Connection) -> bool:
        """Go on with a connection as far as possible without waiting; False once it is of no more use."""
        try:
            if not connection.unsent:
                piece = connection.socket.recv(MAX_REQUEST_BYTES)
                if not piece or connection.unsent is not None:
                    return bool(piece)
                connection.received += piece
                if END not in connection.received and len(connection.received) < MAX_REQUEST_BYTES:
                    return True
                response = answer(bytes(connection.received), self._pages, loopback=self._loopback)
                connection.unsent = memoryview(response)
                selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
            return self._send(selector, connection, connection.unsent)
        except BlockingIOError:
            return True
        except OSError:  # the client is gone
            return False

    def _send(self, selector: selectors.BaseSelector, connection: _Connection, unsent: memoryview) -> bool:
        connection.unsent = unsent[connection.socket.send(unsent[:_PIECE_BYTES]) :]
        if not connection.unsent:
            # Not closed yet: what the client still sends would reset the connection, and take the answer back.
            connection.socket.shutdown(socket.SHUT_WR)
            selector.modify(connection.socket, selectors.EVENT_READ, connection)
        return True
