"""Fuzz targets of parsers that have none in their own tests; docs/security.md lists them all."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skelanon.configs import ConfigError, load_settings
from skelanon.configs.loader import load_capture, load_proxy
from skelanon.sensors.errors import LinkError
from skelanon.sensors.keys import create_keys, load_key_pair, load_public_key
from skelanon.stream.wire import WireError, parse_topic

SHARED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LOADERS: dict[str, Callable[[Path], object]] = {
    "synthetic.yaml": load_settings,
    "remote.yaml": load_settings,
    "capture.yaml": load_capture,
    "proxy.yaml": load_proxy,
}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, left out, repeated or put in."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 8)):
        at, size = chance.randrange(len(changed) + 1), chance.choice((0, 1, 1, 2, 8, 64))
        piece = chance.choice((chance.randbytes(size), bytes(changed[at : at + size]) * 2, chance.choice(TOKENS)))
        changed[at : at + size] = piece
    return bytes(changed)


TOKENS = (
    b"", b"\0", b"\n", b"'", b'"', b"&a [*a, *a]", b"<<: *a", b"!!python/object/apply:os.system [ls]", b"{" * 500,
    b"- " * 500, b"1e999", b".nan", b"0x" + b"f" * 300, b"\xff\xfe", b"\xe2\x80\xa8", b"2001-99-99", b"? ",
    b"metadata", b"=", b"~" * 40,
)  # fmt: skip


@SHARED
@given(st.randoms(use_true_random=False))
@pytest.mark.parametrize("secret", [True, False])
def test_a_damaged_key_file_is_a_key_or_one_error_that_shows_no_secret(
    secret: bool, tmp_path: Path, chance: random.Random
) -> None:
    if not (tmp_path / "node.key").exists():
        create_keys(tmp_path, "node")
    whole = load_key_pair(tmp_path / "node.key_secret")
    path = tmp_path / "damaged"
    path.write_bytes(damaged((tmp_path / ("node.key_secret" if secret else "node.key")).read_bytes(), chance))
    path.chmod(0o600)
    said = ""
    try:
        keys = [load_key_pair(path).secret if secret else load_public_key(path)]
    except LinkError as error:
        keys, said = [], str(error)
    assert {len(key) for key in keys} <= {40}
    assert whole.secret.decode()[:12] not in said


@SHARED
@given(st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", LOADERS)
def test_a_damaged_configuration_is_one_or_one_error(name: str, tmp_path: Path, chance: random.Random) -> None:
    path = tmp_path / name
    path.write_bytes(damaged((CONFIGS / name).read_bytes(), chance))
    said = ""
    try:
        LOADERS[name](path)
    except ConfigError as error:
        said = str(error)
    assert len(said) < 20_000


@given(st.binary(max_size=100) | st.binary(max_size=3).map(lambda junk: b"skelanon/1/hall" + junk + b"/frame"))
def test_any_bytes_are_a_topic_or_one_error(data: bytes) -> None:
    try:
        stream, kind = parse_topic(data)
    except WireError:
        return
    assert data == f"skelanon/1/{stream}/{kind}".encode()
