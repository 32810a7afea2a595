"""The HTTP address: what it answers, and that nothing a client does reaches the node or keeps another client out."""

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelanon.configs import ConfigError, check
from skelanon.stream import PublishError, ReceivedFrame, Subscriber, create_node
from skelanon.stream.errors import AddressError
from skelanon.stream.node import Node
from skelanon.stream.operations import Operations
from skelanon.stream.operations.http_answer import answer
from skelanon.stream.operations.http_server import MAX_CONNECTIONS, HttpServer
from skelanon.stream.operations.pages import Page, Pages

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

PAGES: Pages = {
    "/health": lambda: Page(200, "application/json", b"{}"),
    "/ready": lambda: Page(503, "application/json", b"{}"),
    "/large": lambda: Page(200, "text/plain", bytes(3_000_000)),
    "/broken": lambda: 1 / 0,  # type: ignore[dict-item, return-value]
}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with closing(HttpServer("127.0.0.1:0", PAGES)) as server:
        server.start()
        yield server


def connect(server: HttpServer, timeout: float = 10) -> socket.socket:
    host, _, port = server.endpoint.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def ask(server: HttpServer, request: bytes) -> bytes:
    """All that comes back for a request."""
    with connect(server) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def get(server: HttpServer, path: str = "/health") -> bytes:
    return ask(server, f"GET {path} HTTP/1.1\r\nHost: {server.endpoint}\r\n\r\n".encode())


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", 200),
        (b"GET /health?verbose=1 HTTP/1.0\r\nHost: localhost:9464\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nHost: [::1]\r\n\r\n", 200),
        (b"GET /ready HTTP/1.1\r\n\r\n", 503),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /health HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 405),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nhost: evil.example:80\r\n\r\n", 403),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/2\r\n\r\n", 400),
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"x" * 8192, 431),
    ],
)
def test_a_request_gets_its_status(request_: bytes, code: int) -> None:
    assert status(answer(request_, PAGES, loopback=True)) == code


def test_another_name_is_fine_where_other_machines_may_ask() -> None:
    assert status(answer(b"GET /health HTTP/1.1\r\nHost: node.example\r\n\r\n", PAGES, loopback=False)) == 200


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_get_an_answer(request_: bytes) -> None:
    response = answer(request_ + b"\r\n\r\n", PAGES, loopback=True)
    head, _, body = response.partition(b"\r\n\r\n")
    assert status(response) in (200, 400, 403, 404, 405, 500, 503)
    assert f"Content-Length: {len(body)}".encode() in head or head.startswith(b"HTTP/1.1 200")


def test_a_head_request_has_no_body() -> None:
    response = answer(b"HEAD /health HTTP/1.1\r\n\r\n", PAGES, loopback=True)
    assert (status(response), response.endswith(b"\r\n\r\n")) == (200, True)
    assert b"Content-Length: 2\r\n" in response


def test_a_page_larger_than_all_buffers_arrives_whole(server: HttpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        size = 0
        while piece := connection.recv(100_000):
            size += len(piece)
    assert size > 3_000_000


def test_a_client_that_goes_on_sending_still_gets_its_answer(server: HttpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n\r\n" + b"more" * 5000)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert status(received) == 200
    assert status(ask(server, b"GET /health HTTP/1.1\r\nX: " + b"y" * 20_000)) == 431


def test_connections_that_send_nothing_keep_nobody_out(server: HttpServer) -> None:
    with ExitStack() as stack:
        for number in range(3 * MAX_CONNECTIONS):
            slow = stack.enter_context(connect(server))
            slow.sendall(b"GET /hea"[: number % 8])
        started = time.monotonic()
        assert status(get(server)) == 200
        assert time.monotonic() - started < 3
        assert len(server._open) <= MAX_CONNECTIONS


def test_a_connection_ends_after_its_time(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skelanon.stream.operations.http_server.LIFETIME_S", 0.3)
    with connect(server) as connection:
        ended, started = False, time.monotonic()
        while not ended and time.monotonic() - started < 5:
            try:
                connection.sendall(b"G")  # a sign of life does not prolong it
                connection.settimeout(0.05)
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
    assert ended
    assert status(get(server)) == 200


def test_clients_that_vanish_leave_nothing_behind(server: HttpServer) -> None:
    for _ in range(50):
        with connect(server) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
    deadline = time.monotonic() + 5
    while server._open and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert not server._open
    assert status(get(server)) == 200


def test_closing_is_quick_and_frees_the_address(server: HttpServer) -> None:
    with connect(server):
        started = time.monotonic()
        server.close()
        server.close()
        assert time.monotonic() - started < 1.0
    with closing(HttpServer(server.endpoint, PAGES)) as again:
        assert again.endpoint == server.endpoint


def test_an_address_in_use_or_not_ours_is_named(server: HttpServer) -> None:
    with pytest.raises(
        AddressError, match=rf"cannot serve `metrics.endpoint` {server.endpoint}: Address already in use"
    ):
        HttpServer(server.endpoint, PAGES)
    with pytest.raises(PublishError, match="Cannot assign requested address"):
        HttpServer("192.0.2.1:0", PAGES)


def test_an_open_address_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    HttpServer("0.0.0.0:0", PAGES).close()
    assert "can be reached by other machines, unencrypted; it shows when people are there" in caplog.text


@pytest.mark.parametrize("endpoint", ["9464", "host:9464", ":9464", "127.0.0.1:", "127.0.0.1:x", "::1:9464", "1.2.3:1",
                                      "127.0.0.1:65536", "[127.0.0.1]:1", "tcp://127.0.0.1:1"])  # fmt: skip
def test_an_impossible_address_is_refused_when_it_is_loaded(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"`metrics.endpoint` is .*: it must be ADDRESS:PORT"):
        check({"sensors": {"a": {"kind": "synthetic"}}, "metrics": {"endpoint": endpoint}}, "test")


def test_a_flood_of_slow_and_hostile_connections_does_not_disturb_the_stream(run_node: RunNode) -> None:
    tree: dict[str, Any] = {"sensors": {"hall": {"kind": "synthetic", "rate_hz": 100, "persons": 1}}}
    asked = check(tree | {"publish": {"endpoint": "tcp://127.0.0.1:*"}, "metrics": {"endpoint": "localhost:0"}}, "test")
    done = threading.Event()
    with (
        run_node(lambda: create_node(asked)) as node,
        Operations(node, asked.metrics) as operations,
        Subscriber(node.publisher.endpoint) as subscriber,
        ExitStack() as stack,
    ):
        host, _, port = (operations.endpoint or "").rpartition(":")

        def hammer() -> None:
            while not done.is_set():
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                    while connection.recv(65536):
                        pass

        for _ in range(100):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=5)).sendall(b"GET /metr")
        attack = threading.Thread(target=hammer, daemon=True)
        attack.start()
        frames: list[ReceivedFrame] = []
        deadline = time.monotonic() + 20
        while len(frames) < 200 and time.monotonic() < deadline:
            frame = subscriber.read(timeout_ms=1000)
            if frame is not None:
                frames.append(frame)
        done.set()
        attack.join(10)
        with urllib.request.urlopen(f"http://{operations.endpoint}/ready", timeout=5) as response:
            assert response.status == 200
    assert len(frames) == 200
    assert subscriber.streams["hall"].lost == 0
