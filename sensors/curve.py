"""CURVE on a socket that binds: who is let in, and who was refused."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import zmq

from .errors import LinkError
from .keys import KeyPair, load_public_key

log = logging.getLogger(__name__)

DOMAIN: Final = "skelanon"
"""ZAP domain (ZeroMQ RFC 27) of the sockets that allow-lists are for."""
LOG_PERIOD_S: Final = 1.0
"""Refusals are logged once in so long: a client with a wrong key makes ten a second, with another key each."""
MAX_REFUSALS: Final = 128
"""Counted in one go, so that many connections which end at once hold up no frame for long."""
_POLLIN: Final = int(zmq.POLLIN)  # the enum's own & is slow
_FAILED_HANDSHAKES: Final = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class AllowList:
    """Lets those in whose public keys it holds, and counts the others. setting: where the keys come from."""

    def __init__(self, keys: Iterable[bytes], setting: str) -> None:
        self._keys = frozenset(keys)
        self._setting = setting
        self.refused = 0
        self._logged_s = -LOG_PERIOD_S

    def __len__(self) -> int:
        return len(self._keys)

    def covers(self, other: "AllowList") -> bool:
        """Whether it lets in everyone whom another list lets in."""
        return self._keys >= other._keys

    def become(self, other: "AllowList") -> int:
        """Let those in whom another list lets in, from now on; returns how many they are. From any thread."""
        self._keys = other._keys
        return len(self._keys)

    def forget(self, key: bytes) -> None:
        """Let one in no more."""
        self._keys -= {key}

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key may connect. Called by the authenticator in its own thread."""
        allowed = key in self._keys
        if not allowed:
            self.refused += 1
            now_s = time.monotonic()
            if now_s - self._logged_s >= LOG_PERIOD_S:
                self._logged_s = now_s
                log.warning(
                    "refused a client: its key %s is not among %s; %d refused so far",
                    key.decode(),
                    self._setting,
                    self.refused,
                )
        return allowed


def load_clients(folder: str | Path, setting: str = "publish.curve.clients") -> AllowList:
    """Those whose public keys lie in the folder that a setting names. Raises LinkError: none, or not a folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise LinkError(f"`{setting}` is {str(folder)!r}, which is not a folder")
    keys = [load_public_key(path) for path in sorted(folder.glob("*.key"))]
    if not keys:
        raise LinkError(
            f"`{setting}` is {str(folder)!r}, which holds no `.key` file: nobody could subscribe; "
            "make one with `skelanon keys new NAME` and copy its `.key` file there"
        )
    return AllowList(keys, f"`{setting}`")


class CurveServer:
    """Encrypts a socket before it binds, lets in whom the list allows, and tells of the others.

    Of the thread that owns the socket, which closes this first.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        socket: "zmq.Socket[bytes]",
        keys: KeyPair,
        allowed: AllowList,
    ) -> None:
        from zmq.auth.thread import ThreadAuthenticator  # it imports asyncio, of no use where there is no CURVE

        self._socket = socket
        self._allowed = allowed
        self._failed_handshakes = 0
        self._unlogged: set[str] = set()
        self._logged_s = -LOG_PERIOD_S
        self._authenticator: ThreadAuthenticator | None = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(DOMAIN, credentials_provider=allowed)
        # Without a domain that is enforced, ZeroMQ would let everybody in once the authenticator is gone.
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        self._monitor = socket.get_monitor_socket(_FAILED_HANDSHAKES)

    @property
    def refused(self) -> int:
        """Connections refused so far: of keys that are not allowed, or that do not speak CURVE with the node's key."""
        return self._failed_handshakes + self._allowed.refused

    def allow(self, allowed: AllowList) -> int:
        """Let others in from now on; returns how many. Who is in already stays. From any thread."""
        return self._allowed.become(allowed)

    def forget_refused(self) -> None:
        """Count from none again, for the next one with the same list."""
        self._failed_handshakes = self._allowed.refused = 0

    def log_refusals(self) -> None:
        """Log and count the handshakes that have failed. Call it often; it never blocks."""
        from zmq.utils.monitor import recv_monitor_message  # as above

        for _ in range(MAX_REFUSALS):
            if not int(self._monitor.getsockopt(zmq.EVENTS)) & _POLLIN:
                break
            self._failed_handshakes += 1
            self._unlogged.add(str(zmq.Event(recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]).name))
        now_s = time.monotonic()
        if self._unlogged and now_s - self._logged_s >= LOG_PERIOD_S:
            names = ", ".join(sorted(self._unlogged))
            log.warning("refused clients: their CURVE handshakes failed (%s); %d refused so far", names, self.refused)
            self._unlogged.clear()
            self._logged_s = now_s

    def close(self) -> None:
        """Let nobody in any more; who is in stays as long as the socket. May be called twice."""
        if self._authenticator is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._authenticator.stop()
            self._authenticator = None
