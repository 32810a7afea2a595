"""Which addresses need encryption: all but those that only this machine can reach."""

import socket
from pathlib import Path

import pytest
import zmq

from skelanon.configs import PublishSettings
from skelanon.export import default_bundle_path, read_bundle
from skelanon.sensors.endpoint import is_local
from skelanon.sensors.errors import LinkError
from skelanon.stream import PublishError
from skelanon.stream.publisher import Publisher

OPEN = [
    "tcp://*:7400",
    "tcp://0.0.0.0:7400",
    "tcp://0:7400",
    "tcp://eth0:7400",
    "tcp://lo:7400",
    "tcp://10.0.0.1:7400",
    "tcp://node.example.org:7400",
    "tcp://[::]:7400",
    "tcp://[fe80::1%eth0]:7400",
    "tcp://[::ffff:10.0.0.1]:7400",
    "tcp://localhost.example.org:7400",
    "tcp://127.0.0.1.example.org:7400",
    "tcp://128.0.0.1:*",
    "tcp://127.0.0.1:1;0.0.0.0:7400",
    "tcp://0.0.0.0:1;127.0.0.1:7400",
]


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:7400",
        "tcp://127.9.9.9:7400",
        "tcp://127.0.0.1:*",
        "tcp://localhost:7400",
        "tcp://[::1]:7400",
        "ipc:///run/skelanon/node",
        "ipc://*",
        "inproc://node",
    ],
)
def test_loopback_is_local(endpoint: str) -> None:
    assert is_local(endpoint)


@pytest.mark.parametrize("endpoint", OPEN)
def test_everything_else_is_open(endpoint: str) -> None:
    assert not is_local(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1",
        "tcp://[::1]",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:99999",  # ZeroMQ would bind port 34463
        "tcp://127.0.0.1:٣",
        "tcp://:7400",
        "tcp://",
        "ipc://",
        "udp://127.0.0.1:7400",
        "pgm://127.0.0.1:7400",
        "ws://127.0.0.1:7400",
        "vmci://*:7400",
        "TCP://127.0.0.1:7400",
        "127.0.0.1:7400",
        "*",
        "",
    ],
)
def test_what_is_no_address_of_ours_is_refused_by_name(endpoint: str) -> None:
    with pytest.raises(LinkError) as caught:
        is_local(endpoint)
    assert str(caught.value) == f"`publish.endpoint` is {endpoint!r}; it must be tcp://ADDRESS:PORT or ipc://PATH"


def publisher(endpoint: str) -> Publisher:
    return Publisher(["a"], read_bundle(default_bundle_path()), PublishSettings(endpoint=endpoint))


@pytest.mark.parametrize("endpoint", OPEN)
def test_an_open_address_without_keys_is_refused_with_the_command_that_makes_them(endpoint: str) -> None:
    with pytest.raises(PublishError) as caught:
        publisher(endpoint)
    assert str(caught.value) == (
        f"`publish.endpoint` {endpoint} can be reached by other machines: it needs `publish.curve`. "
        "Make keys with: skelanon keys new NAME"
    )


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as bound:
            bound.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_loopback_is_bound_without_keys_and_nowhere_else(host: str) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    made = publisher(f"tcp://{host}:*")
    try:
        address, _, port = made.endpoint.removeprefix("tcp://").rpartition(":")
        assert int(port) > 0
        assert is_local(made.endpoint)
        assert address == {"localhost": "127.0.0.1"}.get(host, host)
    finally:
        made.close()
    made.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/none/node"
    with pytest.raises(PublishError, match=f"^cannot publish at {endpoint}: No such file or directory"):
        publisher(endpoint)


def test_an_address_is_free_again_once_closed(ipc: str) -> None:
    for _ in range(3):
        publisher(ipc).close()
    first = publisher("tcp://127.0.0.1:*")
    with pytest.raises(PublishError, match=rf"^cannot publish at {first.endpoint}: Address already in use"):
        publisher(first.endpoint)
    first.close()
    publisher(first.endpoint).close()


def test_the_errors_of_zeromq_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise zmq.ZMQError(zmq.ENOTSUP)

    monkeypatch.setattr(zmq.Socket, "bind", failing)
    with pytest.raises(PublishError, match=r"^cannot publish at tcp://127.0.0.1:\*: "):
        publisher("tcp://127.0.0.1:*")
