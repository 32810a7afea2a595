"""SIGHUP: what is taken up, what is named as not taken up, and that a wrong file changes nothing."""

import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from skelanon.cli import logs
from skelanon.configs import check
from skelanon.configs.schema import NodeSettings
from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.stream import Node, Subscriber, create_node
from skelanon.stream.operations import Reloader
from skelanon.stream.operations.reloader import differing

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


class Daemon:
    """`skelanon run` on a file that changes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._read = threading.Thread(target=self._follow, daemon=True)
        self._read.start()

    def _follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def wait_for(self, words: str, timeout_s: float = 20) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in self.lines:
                if words in line:
                    return line
            threading.Event().wait(0.02)
        raise AssertionError(f"{words!r} is not in the log: {self.lines}")

    def reload(self) -> None:
        self.lines.clear()
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def daemon(config: Path) -> Iterator[Daemon]:
    command = [sys.executable, "-m", "skelanon.cli.main", "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Daemon(process)
        finally:
            process.kill()


@posix
def test_a_new_client_is_let_in_and_a_removed_one_no_more(tmp_path: Path) -> None:
    keys = {name: create_keys(tmp_path / "keys", name) for name in ("node", "first", "second")}
    clients, config = tmp_path / "clients", tmp_path / "node.yaml"
    clients.mkdir()
    shutil.copy(keys["first"][0], clients)
    tree: dict[str, Any] = {
        "sensors": {"hall": {"kind": "synthetic"}},
        "publish": {
            "endpoint": "tcp://127.0.0.1:*",
            "curve": {"secret_key": str(keys["node"][1]), "clients": str(clients)},
        },
    }
    config.write_text(yaml.safe_dump(tree))

    def subscriber(name: str) -> Subscriber:
        return Subscriber(endpoint, curve=load_client_keys(keys[name][1], keys["node"][0]))

    with daemon(config) as node:
        endpoint = node.wait_for("publishing at").rpartition("publishing at ")[2].strip()
        with subscriber("first") as connected, subscriber("second") as second:
            assert connected.read(10_000) is not None
            assert second.read(500) is None
            shutil.copy(keys["second"][0], clients)
            (clients / keys["first"][0].name).unlink()
            tree["sensors"]["hall"]["persons"] = 1
            config.write_text(yaml.safe_dump(tree | {"log": {"level": "warning"}, "track_timeout_s": 2.0}))
            node.reload()
            named = node.wait_for("changed, but not reloaded; restart the node for: ")
            assert named.strip().endswith("`sensors.hall.persons`, `track_timeout_s`")
            assert second.read(10_000) is not None  # ZeroMQ tries again by itself
            with subscriber("first") as removed:
                assert removed.read(500) is None
            connected.latest(0)
            assert connected.read(500) is None  # all were cut off, and it was not let in again

            (clients / keys["second"][0].name).unlink()  # nobody would be left: refused as a whole
            config.write_text(yaml.safe_dump(tree | {"log": {"level": "debug"}}))
            node.reload()
            assert "holds no `.key` file" in node.wait_for("settings are not reloaded, all stays as it was")
            with subscriber("second") as again:
                assert again.read(10_000) is not None

            config.write_text("sensors: {}\npublish: [")
            node.reload()
            assert "not valid YAML" in node.wait_for("settings are not reloaded, all stays as it was")
            config.unlink()
            node.reload()
            assert "cannot read the configuration" in node.wait_for("settings are not reloaded")
            assert second.read(5_000) is not None
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == 0


@posix
def test_the_log_changes_its_format(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    text = "sensors:\n  hall: {kind: synthetic}\npublish: {endpoint: 'tcp://127.0.0.1:*'}\n"
    config.write_text(text)
    with daemon(config) as node:
        node.wait_for("publishing at")
        config.write_text(text + "log: {format: json}\n")
        node.reload()
        line = node.wait_for("reloaded")
    assert line.startswith('{"time": ')
    assert '"message": "reloaded `log` (info, json)"' in line


@pytest.fixture
def settings() -> NodeSettings:
    return check({"sensors": {"a": {"kind": "synthetic"}}, "publish": {"endpoint": "tcp://127.0.0.1:*"}}, "test")


def reloader(node: Node, settings: NodeSettings, load: Callable[[], NodeSettings]) -> Reloader:
    return Reloader(node, settings, load, lambda log: None)


def test_an_unexpected_error_is_told_without_words(settings: NodeSettings, caplog: pytest.LogCaptureFixture) -> None:
    def load() -> NodeSettings:
        raise KeyError("S001C001P042R001A001")

    with create_node(settings) as node:
        reloader(node, settings, load).reload()
    assert "settings are not reloaded, all stays as it was: KeyError" in caplog.text
    assert "P042" not in caplog.text


def test_requests_that_come_while_it_reloads_are_one_more(settings: NodeSettings) -> None:
    loads, gate, inside = [], threading.Event(), threading.Event()

    def load() -> NodeSettings:
        loads.append(threading.current_thread().name)
        inside.set()
        assert gate.wait(10)
        return settings

    with create_node(settings) as node:
        asked = reloader(node, settings, load)
        asked.attend()
        assert loads == []
        asked.ask()
        asked.attend()
        assert inside.wait(10)
        for _ in range(5):
            asked.ask()
            asked.attend()  # returns at once, though the other thread waits
        gate.set()
        deadline = time.monotonic() + 10
        while len(loads) < 2 and time.monotonic() < deadline:
            asked.attend()
            threading.Event().wait(0.01)
        assert asked._thread is not None
        asked._thread.join(10)
        asked.attend()
        assert loads == ["reload", "reload"]


def test_what_differs_is_named_by_its_keys_alone() -> None:
    old = {"a": {"b": 1, "c": "secret"}, "d": None, "e": 1}
    new = {"a": {"b": 1, "c": "other"}, "d": {"f": "secret"}, "e": 1}
    assert sorted(differing(old, new)) == ["`a.c`", "`d`"]
    assert list(differing(old, old)) == []


def test_curve_that_is_switched_on_needs_a_restart(
    settings: NodeSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curve = {"secret_key": "none", "clients": str(tmp_path)}
    tree = settings.model_dump() | {"publish": settings.publish.model_dump() | {"curve": curve}}
    with create_node(settings) as node, caplog.at_level(logging.INFO):
        reloader(node, settings, lambda: check(tree, "test")).reload()
    assert "restart the node for: `publish.curve`" in caplog.text
    assert "none" not in caplog.text


def test_a_json_line_holds_no_words_of_an_exception() -> None:
    words = "0.1234 of S001C001P042R001A001"
    try:
        raise ValueError(words)
    except ValueError:
        record = logging.LogRecord("zmq.auth", logging.ERROR, "", 0, "failed\nbadly", (), sys.exc_info())
    for formatter in (logs.JsonFormatter(), logs.HumanFormatter()):
        line = formatter.format(record)
        assert "ValueError" in line
        assert "P042" not in line
    assert "\n" not in logs.JsonFormatter().format(record)
