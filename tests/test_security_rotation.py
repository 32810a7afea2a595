"""Keys of a node that runs are exchanged: whoever may stay comes back by himself, whoever may not is cut off."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from skelanon.configs import check
from skelanon.configs.schema import CurveSettings
from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.stream import ClientKeys, Node, PublishError, Subscriber, create_node

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]
BACK_S = 2.0
"""Within so long a client is to be back after the node's keys were exchanged."""


class Keys:
    """Two key pairs of a node, and two clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("node", "next", "first", "second"):
            create_keys(folder, name)
        (folder / "clients").mkdir()
        for name in ("first", "second"):
            shutil.copy(folder / f"{name}.key", folder / "clients")

    def settings(self, node: str = "node") -> CurveSettings:
        return CurveSettings(secret_key=str(self.folder / f"{node}.key_secret"), clients=str(self.folder / "clients"))

    def of(self, client: str, node: str = "node") -> ClientKeys:
        return load_client_keys(self.folder / f"{client}.key_secret", self.folder / f"{node}.key")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def node(keys: Keys, run_node: RunNode) -> Iterator[Node]:
    publish = {"endpoint": "tcp://127.0.0.1:*", "curve": keys.settings().model_dump()}
    sensors = {"hall": {"kind": "synthetic", "rate_hz": 100.0}}
    with run_node(lambda: create_node(check({"sensors": sensors, "publish": publish}, "test"))) as node:
        yield node


def connect(node: Node, keys: ClientKeys) -> Subscriber:
    return Subscriber(node.publisher.endpoint, curve=keys, stall_after_s=60)


def await_silence(subscriber: Subscriber) -> None:
    """Until nothing has come for half a second."""
    deadline = time.monotonic() + 10
    while subscriber.latest(500):
        assert time.monotonic() < deadline, "it is still served"


def test_a_client_that_is_taken_off_the_list_is_cut_off_at_once(node: Node, keys: Keys) -> None:
    with connect(node, keys.of("first")) as first, connect(node, keys.of("second")) as second:
        assert first.read(10_000) is not None
        assert second.read(10_000) is not None
        (keys.folder / "clients" / "second.key").unlink()
        endpoint, began_s = node.publisher.endpoint, time.monotonic()
        assert node.publisher.admit(keys.settings()) == 1
        await_silence(second)
        while first.read(0) is not None:  # what was sent before
            pass
        assert first.read(10_000) is not None
        assert time.monotonic() - began_s < BACK_S + 1
        assert node.publisher.endpoint == endpoint
        assert first.streams["hall"].restarts == 0
        assert second.latest(300) == {}


def test_a_client_that_is_added_disturbs_nobody(node: Node, keys: Keys) -> None:
    (keys.folder / "clients" / "second.key").rename(keys.folder / "second.away")
    node.publisher.admit(keys.settings())
    deadline = time.monotonic() + 10
    while not node.publisher._outlet.renewals and time.monotonic() < deadline:
        time.sleep(0.005)  # the node takes it up in its next turn
    with connect(node, keys.of("first")) as first, connect(node, keys.of("second")) as second:
        assert first.read(10_000) is not None
        assert second.read(100) is None
        (keys.folder / "second.away").rename(keys.folder / "clients" / "second.key")
        assert node.publisher.admit(keys.settings()) == 2
        assert second.read(10_000) is not None
        first.latest(0)
        assert first.streams["hall"].lost == 0


def test_the_node_takes_another_key_and_no_more_the_old_one(node: Node, keys: Keys) -> None:
    with connect(node, keys.of("first")) as old, connect(node, keys.of("second", node="next")) as new:
        assert old.read(10_000) is not None
        assert new.read(100) is None
        began_s = time.monotonic()
        node.publisher.admit(keys.settings("next"))
        frame = new.read(10_000)
        assert frame is not None
        assert time.monotonic() - began_s < BACK_S
        await_silence(old)
        assert old.latest(300) == {}


@pytest.mark.parametrize("broken", ["clients", "next.key_secret"])
def test_keys_that_cannot_be_read_change_nothing(broken: str, node: Node, keys: Keys) -> None:
    with connect(node, keys.of("first")) as first:
        assert first.read(10_000) is not None
        path = keys.folder / broken
        shutil.rmtree(path) if path.is_dir() else path.chmod(0o644)
        with pytest.raises(PublishError, match=r"is not a folder|can be read by other users; run: chmod 600"):
            node.publisher.admit(keys.settings("next"))
        for _ in range(30):
            assert first.read(10_000) is not None
        assert first.streams["hall"].lost == 0
