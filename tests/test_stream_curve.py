"""CURVE: key files, and who gets frames with which keys."""

import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import zmq

from skelanon.configs import PublishSettings, check
from skelanon.export import default_bundle_path, read_bundle
from skelanon.sensors.curve import load_clients
from skelanon.sensors.errors import LinkError
from skelanon.sensors.keys import load_key_pair, load_public_key
from skelanon.stream import ClientKeys, Node, PublishError, Subscriber, create_keys, create_node, load_client_keys
from skelanon.stream.publisher import Publisher

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_made_and_read_back(tmp_path: Path) -> None:
    public, secret = create_keys(tmp_path / "new" / "folder", "node-1")
    assert [path.name for path in (public, secret)] == ["node-1.key", "node-1.key_secret"]
    pair = load_key_pair(secret)
    assert pair.public == load_public_key(public) == zmq.curve_public(pair.secret)
    assert pair.secret not in public.read_bytes()
    assert pair.secret.decode() not in repr(pair)


@posix
def test_a_secret_key_is_its_owners_alone_and_the_umask_is_as_before(tmp_path: Path) -> None:
    previous = os.umask(0o002)
    try:
        public, secret = create_keys(tmp_path / "keys", "node")
        assert os.umask(0o002) == 0o002
    finally:
        os.umask(previous)
    assert (mode(secret), mode(public), mode(secret.parent)) == (0o600, 0o644, 0o700)


def test_a_name_that_is_taken_is_refused_and_stays(tmp_path: Path) -> None:
    public, secret = create_keys(tmp_path, "node")
    before = public.read_bytes(), secret.read_bytes()
    with pytest.raises(LinkError, match=r"node.key exists already; choose another name"):
        create_keys(tmp_path, "node")
    public.unlink()
    with pytest.raises(LinkError, match=r"node.key_secret exists already; choose another name"):
        create_keys(tmp_path, "node")
    assert (secret.read_bytes(), public.exists()) == (before[1], False)


@pytest.mark.parametrize("name", ["", ".", "..", "../node", "a/b", "/tmp/node", ".hidden", "a b", "n\n", "x" * 65, "ä"])
def test_a_name_that_is_no_name_makes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="cannot name keys; use 1 to 64 letters"):
        create_keys(tmp_path / "keys", name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "keys"):
        with pytest.raises(LinkError, match=rf"^cannot write keys into {folder}: (File exists|Not a directory)$"):
            create_keys(folder, "node")


@posix
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    tmp_path.chmod(0o500)
    with pytest.raises(LinkError, match=rf"^cannot write keys into {tmp_path}: Permission denied$"):
        create_keys(tmp_path, "node")


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    public, secret = create_keys(tmp_path, "node")
    key = load_public_key(public).decode()
    with pytest.raises(LinkError, match=r"cannot read the key file .*none.key: no such file"):
        load_public_key(tmp_path / "none.key")
    with pytest.raises(LinkError, match=rf"cannot read the key file {tmp_path}: Is a directory"):
        load_public_key(tmp_path)
    with pytest.raises(LinkError, match=r"holds no secret key; give the `.key_secret` file"):
        load_key_pair(public)
    for text in ("", "a text", 'public-key = ""', f'public-key = "{key[:-1]}"', f'public-key = "{key[:-1]}~"'):
        public.write_text(text)
        with pytest.raises(LinkError, match=r"node.key is not a key file; make one with `skelanon keys new NAME`"):
            load_public_key(public)
    public.write_bytes(b"\xff\xfe\0" * 100)
    with pytest.raises(LinkError, match="is not a key file"):
        load_public_key(public)
    text = secret.read_text()
    secret.write_text(text.replace(key, load_public_key(create_keys(tmp_path, "other")[0]).decode()))
    with pytest.raises(LinkError, match="do not belong together"):
        load_key_pair(secret)


@posix
@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o620, 0o601])
def test_a_secret_key_that_others_can_touch_is_refused_with_the_command(permissions: int, tmp_path: Path) -> None:
    _, secret = create_keys(tmp_path, "node")
    secret.chmod(permissions)
    with pytest.raises(LinkError, match=rf"{secret} can be read by other users; run: chmod 600 {secret}"):
        load_key_pair(secret)


def test_no_error_shows_a_secret_key(tmp_path: Path) -> None:
    _, secret = create_keys(tmp_path, "node")
    key = load_key_pair(secret).secret.decode()
    secret.write_text(secret.read_text().replace(key, key[:-2] + "~~"))
    with pytest.raises(LinkError) as caught:
        load_key_pair(secret)
    assert key[:10] not in f"{caught.value} {caught.value.__cause__!r}"


def test_an_allow_list_needs_a_folder_with_keys(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"`publish.curve.clients` is '.*none', which is not a folder"):
        load_clients(tmp_path / "none")
    with pytest.raises(LinkError, match=r"holds no `.key` file: nobody could subscribe; make one with `skelanon keys"):
        load_clients(tmp_path)
    public, secret = create_keys(tmp_path, "viewer")
    clients = load_clients(tmp_path)
    assert clients.callback("skelanon", load_public_key(public))
    assert not clients.callback("skelanon", load_key_pair(secret).secret)
    assert clients.refused == 1
    (tmp_path / "broken.key").write_text("")
    with pytest.raises(LinkError, match=r"broken.key is not a key file"):
        load_clients(tmp_path)


class Keys:
    """Key pairs of a node, of a client that it allows, and of a stranger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.node, self.node_secret = create_keys(folder, "node")
        allowed, _ = create_keys(folder, "allowed")
        create_keys(folder, "stranger")
        (folder / "clients").mkdir()
        shutil.copy(allowed, folder / "clients")

    @property
    def settings(self) -> dict[str, object]:
        curve = {"secret_key": str(self.node_secret), "clients": str(self._folder / "clients")}
        return {"endpoint": "tcp://127.0.0.1:*", "curve": curve}

    def of(self, client: str, node: str = "node") -> ClientKeys:
        return load_client_keys(self._folder / f"{client}.key_secret", self._folder / f"{node}.key")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def node(keys: Keys, run_node: RunNode) -> Iterator[Node]:
    """A node that publishes 200 frames a second, to those whom it allows."""
    sensors = {"hall": {"kind": "synthetic", "rate_hz": 200.0}}
    with run_node(lambda: create_node(check({"sensors": sensors, "publish": keys.settings}, "test"))) as node:
        yield node


def test_an_allowed_client_receives(node: Node, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    with Subscriber(node.publisher.endpoint, curve=keys.of("allowed")) as subscriber:
        frames = [subscriber.read(timeout_ms=10_000) for _ in range(20)]
    assert all(frame is not None and frame.lost == 0 for frame in frames)
    assert node.publisher.refused == 0
    assert "refused" not in caplog.text


def test_nobody_else_receives_anything_and_each_is_logged_and_counted(
    node: Node, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """Each refused client has as long as it takes to refuse it and to send the allowed one 30 frames more."""
    strangers = {
        "is not among `publish.curve.clients`": keys.of("stranger"),
        "HANDSHAKE_FAILED_PROTOCOL": keys.of("allowed", node="stranger"),
        "HANDSHAKE_FAILED_NO_DETAIL": None,
    }
    with Subscriber(node.publisher.endpoint, curve=keys.of("allowed")) as allowed:
        assert allowed.read(timeout_ms=10_000) is not None
        for reason, curve in strangers.items():
            before = node.publisher.refused
            with Subscriber(node.publisher.endpoint, curve=curve) as stranger:
                deadline = time.monotonic() + 10
                while reason not in caplog.text and time.monotonic() < deadline:
                    assert stranger.read(timeout_ms=10) is None
                for _ in range(30):
                    assert allowed.read(timeout_ms=10_000) is not None
                assert stranger.read(timeout_ms=0) is None
                assert (stranger.streams, stranger.malformed) == ({}, 0)
            assert reason in caplog.text
            assert node.publisher.refused > before
    assert {record.levelno for record in caplog.records if "refused" in record.message} == {logging.WARNING}


def test_a_client_that_keeps_trying_does_not_flood_the_log(
    node: Node, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with Subscriber(node.publisher.endpoint, curve=keys.of("allowed", node="stranger")) as stranger:
        deadline = time.monotonic() + 10
        while node.publisher.refused < 5 and time.monotonic() < deadline:
            assert stranger.read(timeout_ms=10) is None
    lines = [record.message for record in caplog.records if "refused" in record.message]
    assert node.publisher.refused >= 5
    assert len(lines) < node.publisher.refused
    assert "so far" in lines[-1]


def test_when_the_authenticator_dies_nobody_is_let_in(keys: Keys) -> None:
    """ZeroMQ by itself would then let everybody in."""
    publisher = Publisher(["a"], read_bundle(default_bundle_path()), PublishSettings.model_validate(keys.settings))
    try:
        curve = publisher._outlet._curve
        assert curve is not None
        assert curve._authenticator is not None
        curve._authenticator.stop()
        for client in ("allowed", "stranger"):
            before = publisher.refused
            with Subscriber(publisher.endpoint, curve=keys.of(client)) as subscriber:
                deadline = time.monotonic() + 10
                while publisher.refused == before and publisher.subscribers == 0 and time.monotonic() < deadline:
                    publisher.serve_subscriptions()
                    assert subscriber.read(timeout_ms=10) is None
            assert (publisher.refused > before, publisher.subscribers) == (True, 0)
    finally:
        publisher.close()


@pytest.mark.parametrize("lost", ["node_secret", "clients"])
def test_a_node_without_its_keys_does_not_start_and_leaves_nothing_behind(lost: str, keys: Keys) -> None:
    if lost == "node_secret":
        keys.node_secret.unlink()
    else:
        shutil.rmtree(keys.node.parent / "clients")
    threads = threading.active_count()
    with pytest.raises(PublishError, match=r"cannot read the key file|is not a folder"):
        Publisher(["a"], read_bundle(default_bundle_path()), PublishSettings.model_validate(keys.settings))
    assert threading.active_count() == threads


def test_with_keys_an_open_address_is_bound(keys: Keys) -> None:
    settings = PublishSettings.model_validate({**keys.settings, "endpoint": "tcp://0.0.0.0:*"})
    publisher = Publisher(["a"], read_bundle(default_bundle_path()), settings)
    assert publisher.endpoint.startswith("tcp://0.0.0.0:")
    publisher.close()
    settings = PublishSettings.model_validate({**keys.settings, "endpoint": "udp://0.0.0.0:7400"})
    with pytest.raises(PublishError, match="it must be tcp://ADDRESS:PORT"):
        Publisher(["a"], read_bundle(default_bundle_path()), settings)
