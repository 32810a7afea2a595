"""Every socket that binds ends connections that do not shake hands, and those that send more than they may."""

import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from skelanon.configs import RemoteSettings
from skelanon.sensors import curve
from skelanon.sensors import endpoint as endpoints
from skelanon.sensors.curve import load_clients
from skelanon.sensors.factory import create_sensor
from skelanon.sensors.keys import create_keys, load_key_pair
from skelanon.stream import PublishError
from skelanon.stream import outlet as outlets
from skelanon.stream.outlet import Admission, Outlet

ROOT = Path(__file__).resolve().parents[1]
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"
TOPIC = b"skelanon/1/hall/frame"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "HANDSHAKE_MS", 200)


@pytest.fixture
def admission(tmp_path: Path) -> Admission:
    create_keys(tmp_path, "node")
    (tmp_path / "clients").mkdir()
    shutil.copy(create_keys(tmp_path, "client")[0], tmp_path / "clients")
    return Admission(load_key_pair(tmp_path / "node.key_secret"), load_clients(tmp_path / "clients"))


@pytest.fixture(params=["plain", "curve", "remote"])
def address(request: pytest.FixtureRequest, quick: None, admission: Admission) -> Iterator[tuple[str, int]]:
    """Of a socket of each kind, which nobody serves."""
    if request.param == "remote":
        sensor: Any = create_sensor(RemoteSettings(kind="remote", endpoint="tcp://127.0.0.1:*"))
        sensor.open()
        made, endpoint = sensor, sensor.endpoint
    else:
        made = Outlet("tcp://127.0.0.1:*", [TOPIC], admission if request.param == "curve" else None)
        endpoint = made.endpoint
    with closing(made):
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        yield host, int(port)


def ends_within(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side hangs up in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            if not connection.recv(4096):
                return True
        except TimeoutError:
            return False
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize("said", [b"", GREETING[:9], GREETING[:40]], ids=["nothing", "a beginning", "half"])
def test_who_does_not_shake_hands_is_hung_up_on(said: bytes, address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(said)
        assert ends_within(connection, 5)


def test_who_sends_more_than_a_subscription_is_hung_up_on() -> None:
    with closing(Outlet("tcp://127.0.0.1:*", [TOPIC], None)) as outlet:
        host, _, port = outlet.endpoint.removeprefix("tcp://").rpartition(":")
        for size, ends in ((100, False), (300, True)):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(GREETING)
                connection.sendall(READY)
                heard = b""
                while len(heard) < len(GREETING) + len(
                    READY
                ):  # ZeroMQ does not like who goes on before it has answered
                    heard += connection.recv(4096)
                connection.sendall(b"\x02" + size.to_bytes(8, "big") + b"\1" + bytes(size - 1))
                assert ends_within(connection, 5 if ends else 0.3) is ends


def test_memory_that_grows_cuts_all_connections_once(monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([100, 100, 100 + 300 * 2**20, 200 * 2**20, 210 * 2**20])
    monkeypatch.setattr(outlets, "resident_bytes", lambda: next(held))
    monkeypatch.setattr(outlets, "_LOOK_S", 0.0)
    with closing(Outlet("tcp://127.0.0.1:*", [TOPIC], None)) as outlet:
        before = outlet.endpoint
        for _ in range(3):
            outlet.serve()
        assert (outlet.renewals, outlet.endpoint) == (1, before)


def test_refusals_are_counted_once_whatever_is_bound_anew(admission: Admission, tmp_path: Path) -> None:
    create_keys(tmp_path, "next")
    with closing(Outlet("tcp://127.0.0.1:*", [TOPIC], admission)) as outlet:
        assert not admission.clients.callback("skelanon", b"unknown")
        for keys in ("next", "node"):
            clients = load_clients(tmp_path / "clients")
            outlet.admit(Admission(load_key_pair(tmp_path / f"{keys}.key_secret"), clients))
            outlet.serve()
            assert outlet.refused == (1 if keys == "next" else 2)
            assert not clients.callback("skelanon", b"unknown")
        assert (outlet.refused, outlet.renewals) == (3, 2)


def test_many_refusals_at_once_are_counted_a_few_at_a_time(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "MAX_REFUSALS", 2)
    with closing(Outlet("tcp://127.0.0.1:*", [TOPIC], admission)) as outlet:
        host, _, port = outlet.endpoint.removeprefix("tcp://").rpartition(":")
        for _ in range(5):
            with socket.create_connection((host, int(port)), timeout=5) as stranger:
                stranger.sendall(GREETING + READY)
                assert ends_within(stranger, 5)
        counted = []
        while outlet.refused < 5:
            before = outlet.refused
            outlet.serve()
            counted.append(outlet.refused - before)
        assert max(counted) == 2


def test_where_a_system_does_not_tell_its_memory_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> int:
        raise FileNotFoundError

    monkeypatch.setattr(outlets, "resident_bytes", unknown)
    monkeypatch.setattr(outlets, "_LOOK_S", 0.0)
    with closing(Outlet("tcp://127.0.0.1:*", [TOPIC], None)) as outlet:
        outlet.serve()
        assert outlet.renewals == 0


def test_an_address_that_is_taken_while_all_are_cut_off_ends_it(
    admission: Admission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail closed: no socket is better than one with the wrong keys."""
    monkeypatch.setattr(outlets, "RENEWAL_S", 0.1)
    create_keys(tmp_path, "next")
    with closing(Outlet("tcp://127.0.0.1:*", [TOPIC], admission)) as outlet:
        host, _, port = outlet.endpoint.removeprefix("tcp://").rpartition(":")
        outlet.admit(Admission(load_key_pair(tmp_path / "next.key_secret"), admission.clients))

        def steal(*_: object) -> str:
            return "Address already in use"

        monkeypatch.setattr(outlets, "why_taken", steal)
        with pytest.raises(PublishError, match=rf"cannot publish at tcp://{host}:{port}: Address already in use"):
            outlet.serve()
        assert outlet.closed


BINDS = re.compile(r"\.bind\(")


def test_no_file_binds_a_zeromq_socket_without_limits() -> None:
    """But for benchmarks and checks, which run for a moment."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("sensors", "stream")
        for path in (ROOT / folder).rglob("*.py")
        if BINDS.search(path.read_text("utf-8"))
    }
    assert found == {"stream/outlet.py", "sensors/remote/source.py"}
    for name in found:
        assert "set_limits(" in (ROOT / name).read_text("utf-8")


def test_no_file_receives_without_a_limit_of_size() -> None:
    for folder in ("sensors", "stream"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            if re.search(r"context\.socket\(|Context\(\)\.socket\(", text):
                assert re.search(r"zmq\.MAXMSGSIZE|set_limits\(", text), path
