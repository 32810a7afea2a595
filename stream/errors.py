"""What publishing can raise."""

import errno
import os
from typing import Final

import zmq

_PASSING_CODES: Final = (zmq.EADDRINUSE, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENODEV)
"""Another program may end, an interface may come up."""
_PASSING: Final = tuple(strerror(code) for strerror in (zmq.strerror, os.strerror) for code in _PASSING_CODES)


class PublishError(RuntimeError):
    """The node cannot publish: address in use or open to others without encryption, keys missing or unreadable."""


class AddressError(PublishError):
    """An address cannot be had now: in use, or not one of this machine yet. Trying again may help."""


def cannot_publish(endpoint: str, reason: str | None) -> PublishError:
    """The error for an address that cannot be bound, for a reason in the system's words."""
    kind = AddressError if (reason or "").startswith(_PASSING) else PublishError  # pyzmq appends the address
    return kind(f"cannot publish at {endpoint}: {reason}")
