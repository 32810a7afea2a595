"""CURVE: key files, and the allow-list of clients.

Key files are ZeroMQ certificates (ZPL) as `zmq.auth` writes them: `NAME.key` public, `NAME.key_secret` both.
"""

import logging
import os
import re
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zmq
import zmq.auth
from zmq.utils import z85

from .errors import PublishError
from .subscriber import ClientKeys

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

log = logging.getLogger(__name__)

DOMAIN: Final = "skelanon"
"""ZAP domain (ZeroMQ RFC 27) of the sockets that the allow-list is for."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_KEY_LENGTH: Final = 40
LOG_PERIOD_S: Final = 1.0
"""Refused keys are logged once in so long: nobody shall fill the disk with made-up ones."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A Z85 key pair."""

    public: bytes
    secret: bytes = field(repr=False)


def create_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair; returns the public and the secret file. The secret one is readable by its owner alone.

    Raises PublishError where the folder cannot be written or the name is taken or none.
    """
    if not _NAME.fullmatch(name):
        raise PublishError(f"{name!r} cannot name keys; use 1 to 64 letters, digits, `_`, `-` and `.`")
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    previous = os.umask(0o077)
    try:
        for path in (public, secret):
            if path.exists():
                raise PublishError(f"{path} exists already; choose another name or remove it first")
        folder.mkdir(parents=True, exist_ok=True)
        zmq.auth.create_certificates(folder, name)
        public.chmod(0o644)
    except OSError as error:
        raise PublishError(f"cannot write keys into {folder}: {error.strerror}") from error
    finally:
        os.umask(previous)
    return public, secret


def load_key_pair(path: str | Path) -> KeyPair:
    """Read a `.key_secret` file. Raises PublishError: unreadable, not a key, readable by others."""
    public, secret = _load(path)
    if secret is None:
        raise PublishError(f"{path} holds no secret key; give the `.key_secret` file")
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        raise PublishError(f"{path} can be read by other users; run: chmod 600 {path}")
    if zmq.curve_public(secret) != public:
        raise PublishError(f"the public and the secret key in {path} do not belong together; make another pair")
    return KeyPair(public, secret)


def load_public_key(path: str | Path) -> bytes:
    """Read the public key of a `.key` file. Raises PublishError: unreadable, not a key."""
    return _load(path)[0]


def load_client_keys(secret_file: str | Path, node_file: str | Path) -> ClientKeys:
    """A client's own `.key_secret` file and the node's `.key` file. Raises PublishError as above."""
    own = load_key_pair(secret_file)
    return ClientKeys(own.public, own.secret, load_public_key(node_file))


class AllowList:
    """Lets the clients subscribe whose public keys lie in a folder, and counts the others."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise PublishError(f"`publish.curve.clients` is {str(folder)!r}, which is not a folder")
        self._keys = {load_public_key(path): path.stem for path in sorted(folder.glob("*.key"))}
        if not self._keys:
            raise PublishError(
                f"`publish.curve.clients` is {str(folder)!r}, which holds no `.key` file: nobody could subscribe; "
                "make one with `skelanon keys new NAME` and copy its `.key` file there"
            )
        self.refused = 0
        self._logged_s = -LOG_PERIOD_S

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key may connect. Called by the authenticator in its own thread."""
        allowed = key in self._keys
        if not allowed:
            self.refused += 1
            now_s = time.monotonic()
            if now_s - self._logged_s >= LOG_PERIOD_S:
                self._logged_s = now_s
                log.warning(
                    "refused a client: its key %s is not among `publish.curve.clients`; %d refused so far",
                    key.decode(),
                    self.refused,
                )
        return allowed


def authenticate(context: "zmq.Context[zmq.Socket[bytes]]", clients: AllowList) -> "ThreadAuthenticator":
    """Start the thread that answers for the CURVE sockets of a context in DOMAIN; the caller stops it."""
    from zmq.auth.thread import ThreadAuthenticator  # it imports asyncio, of no use to a node without CURVE

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(DOMAIN, credentials_provider=clients)
    return authenticator


def _load(path: str | Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, secret or public):
            if len(key) != _KEY_LENGTH:
                raise ValueError(f"a key of {len(key)} characters")
            z85.decode(key)
    except OSError as error:
        raise PublishError(f"cannot read the key file {path}: {error.strerror or 'no such file'}") from error
    except (ValueError, KeyError, struct.error) as error:
        raise PublishError(f"{path} is not a key file; make one with `skelanon keys new NAME`") from error
    return public, secret
