"""Keys for CURVE, and the files that they are kept in.

Key files are ZeroMQ certificates (ZPL) as `zmq.auth` writes them: `NAME.key` public, `NAME.key_secret` both.
"""

import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
import zmq.auth
from zmq.utils import z85

from .errors import LinkError

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_KEY_LENGTH: Final = 40


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A Z85 key pair."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """CURVE keys, each 40 characters of Z85: the client's own pair and the node's public key."""

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes

    def __post_init__(self) -> None:
        if {len(self.public), len(self.secret), len(self.server)} != {40}:
            raise ValueError("CURVE keys have 40 characters (Z85) each; make a pair with `skelanon keys new`")


def create_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair; returns the public and the secret file. The secret one is readable by its owner alone.

    Raises LinkError where the folder cannot be written or the name is taken or none.
    """
    if not _NAME.fullmatch(name):
        raise LinkError(f"{name!r} cannot name keys; use 1 to 64 letters, digits, `_`, `-` and `.`")
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    previous = os.umask(0o077)
    try:
        for path in (public, secret):
            if path.exists():
                raise LinkError(f"{path} exists already; choose another name or remove it first")
        folder.mkdir(parents=True, exist_ok=True)
        zmq.auth.create_certificates(folder, name)
        public.chmod(0o644)
    except OSError as error:
        raise LinkError(f"cannot write keys into {folder}: {error.strerror}") from error
    finally:
        os.umask(previous)
    return public, secret


def load_key_pair(path: str | Path) -> KeyPair:
    """Read a `.key_secret` file. Raises LinkError: unreadable, not a key, readable by others."""
    public, secret = _load(path)
    if secret is None:
        raise LinkError(f"{path} holds no secret key; give the `.key_secret` file")
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        raise LinkError(f"{path} can be read by other users; run: chmod 600 {path}")
    try:
        belongs = zmq.curve_public(secret) == public
    except ValueError as error:
        raise _no_key_file(path) from error
    if not belongs:
        raise LinkError(f"the public and the secret key in {path} do not belong together; make another pair")
    return KeyPair(public, secret)


def load_public_key(path: str | Path) -> bytes:
    """Read the public key of a `.key` file. Raises LinkError: unreadable, not a key."""
    return _load(path)[0]


def load_client_keys(secret_file: str | Path, node_file: str | Path) -> ClientKeys:
    """A client's own `.key_secret` file and the node's `.key` file. Raises LinkError as above."""
    own = load_key_pair(secret_file)
    return ClientKeys(own.public, own.secret, load_public_key(node_file))


def _load(path: str | Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, secret or public):
            if len(key) != _KEY_LENGTH:
                raise ValueError(f"a key of {len(key)} characters")
            z85.decode(key)
    except OSError as error:
        raise LinkError(f"cannot read the key file {path}: {error.strerror or 'no such file'}") from error
    except (ValueError, LookupError, struct.error) as error:
        raise _no_key_file(path) from error
    return public, secret


def _no_key_file(path: str | Path) -> LinkError:
    return LinkError(f"{path} is not a key file; make one with `skelanon keys new NAME`")
