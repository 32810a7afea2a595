"""Which addresses other machines can reach."""

import ipaddress

from .errors import PublishError


def is_local(endpoint: str) -> bool:
    """Whether only this machine can reach a ZeroMQ endpoint: ipc, inproc, or tcp on loopback.

    Raises PublishError for another transport or an address that is not one.
    """
    transport, _, address = endpoint.partition("://")
    if transport in ("ipc", "inproc") and address:
        return True
    host, _, port = address.rpartition(":")
    if transport != "tcp" or not host or not _is_port(port):
        raise PublishError(f"`publish.endpoint` is {endpoint!r}; it must be tcp://ADDRESS:PORT or ipc://PATH")
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
