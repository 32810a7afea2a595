"""Which addresses other machines can reach."""

import ipaddress

from .errors import PublishError


def is_local(endpoint: str) -> bool:
    """Whether only this machine can reach a ZeroMQ endpoint: ipc, inproc, or tcp on loopback.

    Raises PublishError for another transport or an address that is not one.
    """
    transport, separator, address = endpoint.partition("://")
    if transport in ("ipc", "inproc") and address:
        return True
    if transport != "tcp" or not separator or ":" not in address:
        raise PublishError(f"`publish.endpoint` is {endpoint!r}; it must be tcp://ADDRESS:PORT or ipc://PATH")
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # *, an interface or a host name: reachable from elsewhere unless proven otherwise
        return False
