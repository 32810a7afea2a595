"""Tells the service manager how the node is doing.

Source: sd_notify(3) of systemd: datagrams of `KEY=VALUE` lines to the socket that NOTIFY_SOCKET names.
"""

import logging
import socket
import time
from collections.abc import MutableMapping
from typing import Final, Self

log = logging.getLogger(__name__)

SHORTEST_WATCHDOG_S: Final = 0.5
"""The node's loop turns at least every 0.05 s, but the machine may be busy."""
_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.05


class Notifier:
    """Sends to a service manager's socket. watchdog_s: how often at least the manager wants to be fed; None: never.

    From any thread. What cannot be delivered is lost: the manager draws its own conclusions.
    """

    def __init__(self, address: str, watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address  # @: Linux's abstract names
        self._every_s = None if watchdog_s is None else watchdog_s / 2  # as sd_watchdog_enabled(3) advises
        self._fed_s = float("-inf")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str], pid: int) -> Self | None:
        """The one that the environment names, if any. Child processes do not inherit it."""
        address = environment.pop("NOTIFY_SOCKET", "")
        watchdog = environment.pop("WATCHDOG_USEC", "")
        meant_for = environment.pop("WATCHDOG_PID", str(pid))
        if address[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
            return None
        if not watchdog.isdecimal() or not int(watchdog) or meant_for != str(pid):
            return cls(address)
        watchdog_s = int(watchdog) / 1e6
        if watchdog_s < SHORTEST_WATCHDOG_S:
            log.warning("the watchdog wants a sign of life every %.3f s: too often for a busy machine", watchdog_s)
        return cls(address, watchdog_s)

    def ready(self, status: str) -> None:
        """The node runs, or runs with its settings reloaded; status: for people."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Settings are being reloaded; `ready` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The node ends in good order."""
        self._send("STOPPING=1")

    def feed(self, now_s: float) -> None:
        """Feed the watchdog, where it is time. Call it whenever the loop turns, and at no other time."""
        if self._every_s is not None and now_s - self._fed_s >= self._every_s:
            self._fed_s = now_s
            self._send("WATCHDOG=1", attempts=1)

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()

    def _send(self, text: str, attempts: int = _ATTEMPTS) -> None:
        for _ in range(attempts):
            try:
                self._socket.sendto(text.encode(), self._address)
            except BlockingIOError:  # the manager is behind
                time.sleep(_PAUSE_S if attempts > 1 else 0)
            except OSError as error:
                log.debug("the service manager cannot be told: %s", error.strerror)
                return
            else:
                return
