"""Which addresses other machines can reach."""

import ipaddress
import os
import socket as sockets
import stat
from typing import Final

import zmq

from .errors import LinkError

HANDSHAKE_MS: Final = 5000
"""A connection that has not shaken hands for so long is closed; ZeroMQ itself would wait 30 s."""


def is_local(endpoint: str, setting: str = "publish.endpoint") -> bool:
    """Whether only this machine can reach a ZeroMQ endpoint: ipc, inproc, or tcp on loopback.

    Raises LinkError, which names the setting, for another transport or an address that is not one.
    """
    transport, _, address = endpoint.partition("://")
    if transport in ("ipc", "inproc") and address:
        return True
    host, _, port = address.rpartition(":")
    if transport != "tcp" or not host or not _is_port(port):
        raise LinkError(f"`{setting}` is {endpoint!r}; it must be tcp://ADDRESS:PORT or ipc://PATH")
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # *, an interface or a host name: reachable from elsewhere unless proven otherwise
        return False


def _is_port(text: str) -> bool:
    """ZeroMQ itself takes 99999 as well, and binds another port: 99999 - 65536."""
    return text == "*" or (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535)


def why_taken(endpoint: str) -> str | None:
    """Why an ipc path cannot be bound: in use, or no socket. ZeroMQ would replace whatever is there."""
    transport, _, path = endpoint.partition("://")
    if transport != "ipc" or path.startswith("@") or not os.path.lexists(path):
        return None
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return "a file is there that is not a socket"
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return None  # left behind by a node that was killed
    return "Address already in use"


def set_limits(socket: "zmq.Socket[bytes]", max_message_bytes: int) -> None:
    """Bound what a stranger can cost a socket that binds: the size of messages, the time until it has shaken hands.

    ZeroMQ ends a connection that sends a larger message.
    """
    socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
