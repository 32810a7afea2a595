"""The service manager's protocol, spoken by a real `skelanon run` to a real socket."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skelanon.stream.operations import Notifier

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="service managers with such sockets are Unix")

HANGS = """
import signal, threading
import skelanon.stream.anonymizer as anonymizer
from skelanon.cli.main import main
hang, anonymize = [], anonymizer.Anonymizer.anonymize
def maybe(self, *arguments):
    if hang:
        threading.Event().wait(60)
    return anonymize(self, *arguments)
anonymizer.Anonymizer.anonymize = maybe
signal.signal(signal.SIGUSR1, lambda *_: hang.append(True))
main()
"""
"""A node whose model hangs from SIGUSR1 on."""


class Manager:
    """A socket like systemd's. abstract: of Linux's own namespace."""

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = f"@skelanon-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else str(folder / "notify")
        self._socket.bind(f"\0{self.name[1:]}" if abstract else self.name)

    def receive(self, timeout_s: float = 20) -> str | None:
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return None

    def receive_all(self, timeout_s: float) -> list[str]:
        """What comes until nothing has come for so long."""
        found = []
        while (message := self.receive(timeout_s)) is not None:
            found.append(message)
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


@contextmanager
def node(manager: Manager, tmp_path: Path, *, watchdog_s: float | None = None) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "node.py"
    script.write_text(HANGS)
    config = tmp_path / "node.yaml"
    config.write_text("sensors:\n  a: {kind: synthetic}\npublish: {endpoint: 'tcp://127.0.0.1:*'}\n")
    environment = {**os.environ, "NOTIFY_SOCKET": manager.name}
    if watchdog_s is not None:
        environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
    command = [sys.executable, str(script), "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ready_reloading_and_stopping(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path) as process:
        ready = manager.receive()
        assert ready is not None
        assert ready.startswith("READY=1\nSTATUS=publishing at tcp://127.0.0.1:")
        before_us = time.monotonic_ns() // 1000
        process.send_signal(signal.SIGHUP)
        reloading, since = (manager.receive() or "").split("\n")
        assert reloading == "RELOADING=1"
        assert before_us < int(since.removeprefix("MONOTONIC_USEC=")) < time.monotonic_ns() // 1000
        assert (manager.receive() or "").startswith("READY=1\n")
        process.send_signal(signal.SIGTERM)
        assert manager.receive() == "STOPPING=1"
        assert process.wait(20) == 0


def test_the_watchdog_is_fed_by_the_loop_and_not_by_a_loop_that_hangs(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path, watchdog_s=1.0) as process:
        assert (manager.receive() or "").startswith("READY=1")
        fed = []
        for _ in range(5):
            assert manager.receive(5) == "WATCHDOG=1"
            fed.append(time.monotonic())
        assert 0.35 < (fed[-1] - fed[0]) / 4 < 0.9  # twice a second
        process.send_signal(signal.SIGUSR1)
        manager.receive_all(1.0)  # what was on its way
        assert manager.receive(1.5) is None
        assert process.poll() is None  # it lives, and yet does not progress


def test_a_node_that_cannot_start_is_never_ready(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path) as first:
        manager.receive()
        endpoint = ""
        assert first.stderr is not None
        while "publishing at " not in endpoint:
            endpoint = first.stderr.readline()
        taken = endpoint.rpartition("publishing at ")[2].strip()
        command = [sys.executable, "-m", "skelanon.cli.main", "run", "synthetic.yaml", "--set"]
        environment = {**os.environ, "NOTIFY_SOCKET": manager.name}
        done = subprocess.run(
            [*command, f"publish.endpoint={taken}"], env=environment, capture_output=True, check=False, timeout=30
        )
    assert done.returncode == 4
    assert "READY=1" not in " ".join(manager.receive_all(0.1))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own namespace of sockets")
def test_an_abstract_socket_is_found(tmp_path: Path) -> None:
    manager = Manager(tmp_path, abstract=True)
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.name}, 1)
    assert notifier is not None
    notifier.stopping()
    assert manager.receive(5) == "STOPPING=1"
    notifier.close()
    manager.close()


def test_the_environment_is_read_once_and_not_inherited(manager: Manager) -> None:
    for pid, fed in (("7", ["WATCHDOG=1"]), ("8", [])):  # WATCHDOG_PID: whose watchdog it is
        environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": pid, "HOME": "/"}
        notifier = Notifier.from_environment(environment, 7)
        assert notifier is not None
        assert environment == {"HOME": "/"}
        for now_s in (0.0, 0.5, 0.99):
            notifier.feed(now_s)
        assert manager.receive_all(0.05) == fed
        notifier.feed(1.0)
        assert manager.receive_all(0.05) == fed
        notifier.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_nobody_is_told(environment: dict[str, str]) -> None:
    assert Notifier.from_environment(environment, 1) is None


@pytest.mark.parametrize("watchdog", ["", "0", "-1", "soon", "1e6"])
def test_a_watchdog_that_is_none_is_not_fed(watchdog: str, manager: Manager) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": watchdog}, 1)
    assert notifier is not None
    notifier.feed(0.0)
    notifier.stopping()
    assert manager.receive_all(0.05) == ["STOPPING=1"]
    notifier.close()


def test_a_watchdog_that_is_too_impatient_is_warned_of(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000"}, 1)
    assert notifier is not None
    notifier.close()
    assert "too often for a busy machine" in caplog.text


def test_a_manager_that_is_gone_or_does_not_read_holds_nothing_up(manager: Manager, tmp_path: Path) -> None:
    gone = Notifier(str(tmp_path / "nobody"), 1.0)
    full = Notifier(manager.name, 1.0)
    started = time.monotonic()
    done = threading.Event()

    def feed() -> None:
        for second in range(2000):  # more than a socket's queue holds
            gone.feed(second)
            full.feed(second)
        done.set()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    assert done.wait(10)
    assert time.monotonic() - started < 5
    gone.close()
    full.close()
