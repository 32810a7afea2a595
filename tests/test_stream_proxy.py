"""The proxy: who sees what, whatever it asks for; nodes that speak for others; keys that come and go."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from skelanon.configs import ConfigError
from skelanon.configs.loader import load_proxy
from skelanon.configs.proxy import ProxySettings
from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.stream import ClientKeys, PublishError, Subscriber
from skelanon.stream.errors import AddressError
from skelanon.stream.proxy import Proxy, make_plan
from skelanon.stream.wire import MAX_MESSAGE_BYTES

MakeRawNode = Callable[..., Any]


class Fleet:
    """Keys and settings of a proxy with a door for all streams (`staff`) and one for `hall` alone (`guests`)."""

    def __init__(self, folder: Path, endpoints: dict[str, str], streams: dict[str, list[str]]) -> None:
        self.folder = folder
        for name in ("proxy", "doctor", "visitor", "stranger"):
            create_keys(folder / "keys", name)
        for door, client in (("staff", "doctor"), ("guests", "visitor")):
            (folder / door).mkdir()
            self.let_in(client, door)
        self.tree: dict[str, Any] = {
            "secret_key": str(folder / "keys" / "proxy.key_secret"),
            "nodes": {name: {"endpoint": endpoints[name], "streams": streams[name]} for name in endpoints},
            "doors": {
                "staff": {"endpoint": "tcp://127.0.0.1:*", "clients": str(folder / "staff"), "streams": "all"},
                "guests": {"endpoint": "tcp://127.0.0.1:*", "clients": str(folder / "guests"), "streams": ["hall"]},
            },
        }

    def let_in(self, client: str, door: str) -> None:
        shutil.copy(self.folder / "keys" / f"{client}.key", self.folder / door)

    def lock_out(self, client: str, door: str) -> None:
        (self.folder / door / f"{client}.key").unlink()

    def keys(self, client: str, proxy: str = "proxy") -> ClientKeys:
        return load_client_keys(self.folder / "keys" / f"{client}.key_secret", self.folder / "keys" / f"{proxy}.key")

    @property
    def settings(self) -> ProxySettings:
        return ProxySettings.model_validate(self.tree)


@contextmanager
def running(fleet: Fleet) -> Iterator[Proxy]:
    with Proxy(make_plan(fleet.settings)) as proxy:
        thread = threading.Thread(target=proxy.run)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.stop()
            thread.join(10)


def door(proxy: Proxy, name: str) -> str:
    return next(one.outlet.endpoint for one in proxy.doors if one.name == name)


@pytest.fixture
def rooms(make_raw_node: MakeRawNode, tmp_path: Path) -> tuple[Any, Any, Fleet]:
    """Two nodes, of `hall` and of `hall-2`, and a fleet that has both."""
    first, second = make_raw_node(), make_raw_node()
    endpoints = {"one": first.endpoint, "two": second.endpoint}
    return first, second, Fleet(tmp_path, endpoints, {"one": ["hall"], "two": ["hall-2"]})


def listen(endpoint: str, keys: ClientKeys, *prefixes: bytes) -> "zmq.Socket[bytes]":
    """A bare SUB socket, which may ask for anything."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.linger, socket.rcvtimeo = 0, 5000
    socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = keys.public, keys.secret, keys.server
    for prefix in prefixes:
        socket.subscribe(prefix)
    socket.connect(endpoint)
    return socket


def await_subscribers(proxy: Proxy, name: str, topic: bytes, count: int = 1) -> None:
    outlet = next(one.outlet for one in proxy.doors if one.name == name)
    deadline = time.monotonic() + 10
    while outlet.subscriptions.counts[topic] < count:
        assert time.monotonic() < deadline, f"nobody has subscribed to {topic!r} at {name}"
        time.sleep(0.01)


def test_each_door_gives_its_streams_and_no_others_whatever_is_asked_for(rooms: tuple[Any, Any, Fleet]) -> None:
    first, second, fleet = rooms
    with ExitStack() as stack:
        proxy = stack.enter_context(running(fleet))
        wanted = [
            b"",
            b"skelanon/",
            b"skelanon/1/h",
            b"skelanon/1/hall",
            b"skelanon/1/hall-2/",
            b"skelanon/1/hall-2/frame",
        ]
        guests = [
            stack.enter_context(listen(door(proxy, "guests"), fleet.keys("visitor"), prefix)) for prefix in wanted
        ]
        staff = stack.enter_context(listen(door(proxy, "staff"), fleet.keys("doctor"), b""))
        await_subscribers(proxy, "guests", b"skelanon/1/hall/frame", 4)
        await_subscribers(proxy, "staff", b"skelanon/1/hall-2/frame")
        for node, stream in ((first, "hall"), (second, "hall-2")):
            node.await_subscription(f"skelanon/1/{stream}/".encode())
            for sequence in range(20):
                node.frame(sequence, stream)
        received = [staff.recv_multipart() for _ in range(40)]
        assert {parts[0] for parts in received} == {b"skelanon/1/hall/frame", b"skelanon/1/hall-2/frame"}
        for guest, prefix in zip(guests, wanted, strict=True):
            if b"skelanon/1/hall/frame".startswith(prefix):
                assert [guest.recv_multipart()[0] for _ in range(20)] == [b"skelanon/1/hall/frame"] * 20
            guest.rcvtimeo = 100
            with pytest.raises(zmq.Again):
                guest.recv_multipart()


def test_nobody_gets_in_by_another_door_or_without_a_known_key(rooms: tuple[Any, Any, Fleet]) -> None:
    first, _, fleet = rooms
    with ExitStack() as stack:
        proxy = stack.enter_context(running(fleet))
        refused = [
            stack.enter_context(listen(door(proxy, "staff"), fleet.keys("visitor"), b"")),
            stack.enter_context(listen(door(proxy, "staff"), fleet.keys("stranger"), b"")),
            stack.enter_context(listen(door(proxy, "staff"), fleet.keys("doctor", proxy="stranger"), b"")),
        ]
        staff = stack.enter_context(listen(door(proxy, "staff"), fleet.keys("doctor"), b""))
        await_subscribers(proxy, "staff", b"skelanon/1/hall/frame")
        first.await_subscription(b"skelanon/1/hall/")
        for sequence in range(20):
            first.frame(sequence)
        for _ in range(20):
            staff.recv_multipart()
        deadline = time.monotonic() + 10
        while next(one for one in proxy.doors if one.name == "staff").outlet.refused < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [socket.poll(50) for socket in refused] == [0, 0, 0]


def test_a_message_passes_byte_for_byte_and_a_newcomer_soon_has_the_schema(rooms: tuple[Any, Any, Fleet]) -> None:
    first, _, fleet = rooms
    with running(fleet) as proxy, listen(door(proxy, "guests"), fleet.keys("visitor"), b"skelanon/1/hall/") as guest:
        await_subscribers(proxy, "guests", b"skelanon/1/hall/frame")
        first.await_subscription(b"skelanon/1/hall/")
        first.await_subscription(b"skelanon/1/hall/schema")  # what makes a node send it
        assert first.socket.recv() == b"\0skelanon/1/hall/schema"
        sent = [b"skelanon/1/hall/frame", bytes(range(256)) * 4]
        first.socket.send_multipart(sent)
        assert guest.recv_multipart() == sent


def test_a_node_speaks_for_its_own_streams_alone_and_in_due_form(rooms: tuple[Any, Any, Fleet]) -> None:
    first, second, fleet = rooms
    with running(fleet) as proxy, listen(door(proxy, "staff"), fleet.keys("doctor"), b"") as staff:
        await_subscribers(proxy, "staff", b"skelanon/1/hall/frame")
        first.await_subscription(b"skelanon/1/hall/")
        second.await_subscription(b"skelanon/1/hall-2/")
        for parts in (
            [b"skelanon/1/hall-2/frame", b"another's"],
            [b"skelanon/1/hall/", b""],
            [b"skelanon/1/hall/raw", b""],
            [b"skelanon/1/hall/frame/..", b""],
            [b"skelanon/1/hall/frame"],
            [b"skelanon/1/hall/frame", b"", b""],
        ):
            first.socket.send_multipart(parts)  # the first is not even subscribed to
        first.socket.send_multipart([b"skelanon/1/hall/frame", b"good"])
        assert staff.recv_multipart() == [b"skelanon/1/hall/frame", b"good"]
        assert proxy.upstreams[0].malformed == 5
        first.socket.send_multipart([b"skelanon/1/hall/frame", bytes(MAX_MESSAGE_BYTES + 1)])
        first.await_subscription(b"skelanon/1/hall/")  # cut off, and made anew after silence
        first.socket.send_multipart([b"skelanon/1/hall/frame", b"again"])
        staff.rcvtimeo = 10_000
        assert staff.recv_multipart() == [b"skelanon/1/hall/frame", b"again"]


def test_who_is_locked_out_is_cut_off_and_who_stays_comes_back(rooms: tuple[Any, Any, Fleet]) -> None:
    first, _, fleet = rooms
    fleet.let_in("stranger", "guests")
    with Proxy(make_plan(fleet.settings)) as proxy, ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                Subscriber(door(proxy, "guests"), ["hall"], curve=fleet.keys(name), stall_after_s=60)
            )
            for name in ("visitor", "stranger")
        }

        def everyone_gets(sequence: int, *names: str) -> None:
            """Turn the proxy until those named have read the frame."""
            waiting, deadline = set(names), time.monotonic() + 15
            while waiting:
                assert time.monotonic() < deadline, f"{waiting} get nothing"
                first.frame(sequence)
                proxy.forward()
                waiting -= {name for name in waiting if clients[name].latest(20)}

        everyone_gets(1, "visitor", "stranger")
        fleet.lock_out("stranger", "guests")
        before = door(proxy, "guests")
        proxy.take_up(make_plan(fleet.settings))
        proxy.forward()
        assert door(proxy, "guests") == before
        clients["visitor"].latest(0), clients["stranger"].latest(0)
        everyone_gets(2, "visitor")
        assert clients["stranger"].latest(100) == {}
        (guests,) = (one.outlet for one in proxy.doors if one.name == "guests")
        assert guests.renewals == 1
        fleet.let_in("stranger", "guests")
        proxy.take_up(make_plan(fleet.settings))
        everyone_gets(3, "visitor", "stranger")
        assert guests.renewals == 1  # nobody had to be cut off


def test_nodes_and_doors_come_and_go_and_the_others_stay(
    rooms: tuple[Any, Any, Fleet], make_raw_node: MakeRawNode
) -> None:
    _, _, fleet = rooms
    with Proxy(make_plan(fleet.settings)) as proxy:
        one, staff = proxy.upstreams[0], proxy.doors[0]
        fleet.tree["nodes"]["three"] = {"endpoint": make_raw_node().endpoint, "streams": ["yard"]}
        del fleet.tree["nodes"]["two"], fleet.tree["doors"]["guests"]
        fleet.tree["doors"]["staff"]["streams"] = ["hall"]
        fleet.tree["doors"]["gate"] = fleet.tree["doors"]["staff"] | {"streams": ["yard"]}
        proxy.take_up(make_plan(fleet.settings))
        assert [node.name for node in proxy.upstreams] == ["one", "three"]
        assert proxy.upstreams[0] is one
        assert {door.name: door.streams for door in proxy.doors} == {"staff": {"hall"}, "gate": {"yard"}}
        assert proxy.doors[0] is not staff
        assert staff.outlet.closed
        fleet.tree["doors"]["gate"]["endpoint"] = door(proxy, "staff")
        plan = make_plan(fleet.settings)
        with pytest.raises(AddressError, match="Address already in use"):
            proxy.take_up(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes.one.streams": ["hall-2"]}, "the stream 'hall-2' is taken twice"),
        ({"doors.guests.streams": ["cellar"]}, r"`doors.guests.streams`: no node has 'cellar'"),
        ({"doors.guests.streams": []}, "doors.guests.streams"),
        ({"doors.guests.streams": "any"}, "doors.guests.streams"),
        ({"doors.guests.endpoint": "tcp://a:1", "doors.staff.endpoint": "tcp://a:1"}, "two at tcp://a:1"),
        ({"nodes.one.raw": True}, "nodes.one.raw"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    change: dict[str, Any], message: str, rooms: tuple[Any, Any, Fleet], tmp_path: Path
) -> None:
    import yaml

    path = tmp_path / "proxy.yaml"
    path.write_text(yaml.safe_dump(rooms[2].tree))
    assert load_proxy(path).streams == ["hall", "hall-2"]
    with pytest.raises(ConfigError, match=message):
        load_proxy(path, [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in change.items()])


def test_nothing_is_opened_without_the_keys_for_it(rooms: tuple[Any, Any, Fleet]) -> None:
    fleet = rooms[2]
    fleet.tree["nodes"]["one"]["endpoint"] = "tcp://10.0.0.5:7400"
    with pytest.raises(PublishError, match=r"at another machine: anybody could answer there. `nodes.one.key` must"):
        make_plan(fleet.settings)
    fleet.tree["nodes"]["one"]["key"] = str(fleet.folder / "keys" / "none.key")
    with pytest.raises(PublishError, match="cannot read the key file"):
        make_plan(fleet.settings)
    fleet.tree["nodes"]["one"] = {"endpoint": "udp://127.0.0.1:7400", "streams": ["hall"]}
    with pytest.raises(PublishError, match=r"`nodes.one.endpoint` is 'udp://.*it must be tcp://ADDRESS:PORT"):
        make_plan(fleet.settings)
    fleet.tree["nodes"]["one"]["endpoint"] = "tcp://127.0.0.1:7400"
    fleet.lock_out("visitor", "guests")
    with pytest.raises(PublishError, match=r"`doors.guests.clients` is .* which holds no `.key` file"):
        make_plan(fleet.settings)


def test_the_shipped_configuration_is_one() -> None:
    assert load_proxy("proxy.yaml").streams == ["synthetic"]
