"""Hostile peers at every socket of real processes: nothing leaks, memory is bounded, the others get their frames.

`SKELANON_HOSTILE=10000` for as many malformed conversations with each socket as the requirements ask for.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.stream import ClientKeys, Recorder, Subscriber

ATTACKER = Path(__file__).parent / "fuzz" / "attacker.py"
TIMES = int(os.environ.get("SKELANON_HOSTILE", "150"))
FULL = TIMES >= 1000
WINDOW_S = 5.0 if FULL else 0.3
"""Latencies are measured for so long before and after an attack."""
LORISES = 800
FLOOD = 100_000 if FULL else 15_000
RATE_HZ = 100.0
MAX_GROWTH_MB = 64
"""Of a process that strangers attack."""
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="made and measured for Posix"),
    pytest.mark.timeout(120 + TIMES),
]


class Process:
    """A command of skelanon, what it logs, what it holds."""

    def __init__(self, *arguments: str) -> None:
        line = [sys.executable, "-m", "skelanon.cli.main", *arguments]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        self.log = ""
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        self._usage = psutil.Process(self.process.pid)
        self.peak_mb = 0.0

    def _follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def find(self, pattern: str) -> str:
        """The first group of a pattern, once the log has it."""
        deadline = time.monotonic() + 20
        while (found := re.search(pattern, self.log)) is None:
            assert time.monotonic() < deadline, f"{pattern} is not in {self.log}"
            time.sleep(0.02)
        return found[1]

    @property
    def memory_mb(self) -> float:
        now_mb = float(self._usage.memory_info().rss / 2**20)
        self.peak_mb = max(self.peak_mb, now_mb)
        return now_mb

    @property
    def descriptors(self) -> int:
        return int(self._usage.num_fds())

    def end(self) -> int:
        """End it as an operator would."""
        self.process.terminate()
        code = self.process.wait(20)
        self._thread.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


class Site:
    """An encrypted node with metrics and a remote sensor, a proxy before it, and keys for all concerned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("node", "proxy", "viewer", "flooder", "sender"):
            create_keys(folder / "keys", name)
        (folder / "clients").mkdir()
        for name in ("proxy", "viewer", "flooder"):
            shutil.copy(folder / "keys" / f"{name}.key", folder / "clients")
        self.node = Process("run", self._write("node", self._node_tree()))
        self.endpoint = self.node.find(r"publishing at (\S+)")
        self.metrics = self.node.find(r"readiness at http://(\S+)")
        self.remote = f"127.0.0.1:{self._remote_port}"
        self.proxy = Process("proxy", self._write("proxy", self._proxy_tree()))
        self.door = self.proxy.find(r"door all at (\S+): ")

    def _node_tree(self) -> dict[str, Any]:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._remote_port = probe.getsockname()[1]
        clients, keys = str(self.folder / "clients"), self.folder / "keys"
        curve = {"secret_key": str(keys / "node.key_secret"), "clients": clients}
        remote = {
            "kind": "remote",
            "endpoint": f"tcp://127.0.0.1:{self._remote_port}",
            "curve": {"secret_key": str(keys / "node.key_secret"), "sender": str(keys / "sender.key")},
        }
        return {
            "sensors": {"hall": {"kind": "synthetic", "rate_hz": RATE_HZ}, "far": remote},
            "publish": {"endpoint": "tcp://127.0.0.1:*", "curve": curve},
            "metrics": {"endpoint": "127.0.0.1:0"},
        }

    def _proxy_tree(self) -> dict[str, Any]:
        clients, keys = str(self.folder / "clients"), self.folder / "keys"
        return {
            "secret_key": str(keys / "proxy.key_secret"),
            "nodes": {"one": {"endpoint": self.endpoint, "key": str(keys / "node.key"), "streams": ["hall", "far"]}},
            "doors": {"all": {"endpoint": "tcp://127.0.0.1:*", "clients": clients, "streams": "all"}},
        }

    def _write(self, name: str, tree: dict[str, Any]) -> str:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path)

    def keys(self, client: str, server: str) -> ClientKeys:
        return load_client_keys(self.folder / "keys" / f"{client}.key_secret", self.folder / "keys" / f"{server}.key")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        yield site
    finally:
        codes = [process.end() for process in (site.proxy, site.node)]
    assert codes == [0, 0]


def attack(kind: str, address: str, times: int, keys: ClientKeys | None = None) -> "subprocess.Popen[str]":
    """Start the attacker; where latencies count, on what the others leave of the cores: it would not be on them."""
    line = [sys.executable, str(ATTACKER), kind, address.removeprefix("tcp://"), str(times), "7"]
    if keys is not None:
        line += [key.decode() for key in (keys.public, keys.secret, keys.server)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    if FULL and sys.platform == "linux":
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
    return process


def latencies_ms(subscriber: Subscriber, process: Process, *, until: "subprocess.Popen[str] | float") -> list[float]:
    """Of all frames from being handed to the node's socket to being read here; meanwhile memory is watched."""
    measured = []
    deadline = time.monotonic() + (until if isinstance(until, float) else 60 + TIMES)
    while time.monotonic() < deadline and (isinstance(until, float) or until.poll() is None):
        frame = subscriber.read(timeout_ms=500)
        if frame is not None and frame.stream == "hall":
            measured.append((time.time_ns() - frame.published_ns) / 1e6)
        _ = process.memory_mb
    return measured


def report(name: str, process: Process, **measured: list[float]) -> str:
    figures = ", ".join(f"{when} {np.percentile(ms, 99):.2f} ms ({len(ms)})" for when, ms in measured.items() if ms)
    line = f"{name}: p99 {figures}; memory {process.memory_mb:.0f} MiB, peak {process.peak_mb:.0f}"
    if path := os.environ.get("SKELANON_HOSTILE_REPORT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    return line


SOCKETS = ["publish", "remote", "metrics", "door"]
KINDS = ["malformed", "unknown", *(["loris"] if FULL else [])]  # the last takes ten seconds
FLOODS = ["allowed-prefixes", *(["allowed-others", "allowed-repeats"] if FULL else [])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", SOCKETS)
def test_strangers_get_nothing_and_disturb_nobody(where: str, kind: str, site: Site) -> None:
    if (where, kind) == ("metrics", "unknown"):
        pytest.skip("metrics have no keys")
    process = site.proxy if where == "door" else site.node
    address = {"publish": site.endpoint, "remote": site.remote, "metrics": site.metrics, "door": site.door}[where]
    endpoint, server = (site.door, "proxy") if where == "door" else (site.endpoint, "node")
    with Subscriber(endpoint, ["hall"], curve=site.keys("viewer", server), stall_after_s=60) as viewer:
        assert viewer.read(10_000) is not None
        before_mb, before_fds = process.memory_mb, process.descriptors
        process.peak_mb = before_mb
        before = latencies_ms(viewer, process, until=WINDOW_S)
        stranger = site.keys("flooder", server)  # of which the attacker uses the other side's key alone
        with attack(kind, address, LORISES if kind == "loris" else TIMES, stranger) as attacker:
            during = latencies_ms(viewer, process, until=attacker)
            assert attacker.stdout is not None
            result = json.loads(attacker.stdout.read())
        after = latencies_ms(viewer, process, until=WINDOW_S)
        line = report(f"{where}, {kind} x {result['times']}", process, before=before, during=during, after=after)
        assert result["topics"] == 0, "something was sent to a stranger"
        assert viewer.streams["hall"].lost == 0, line
        assert process.peak_mb - before_mb < MAX_GROWTH_MB, line
        assert np.median(during) < np.median(before) * 2 + 50, line
        if FULL:  # on a machine that has nothing else to do: of p99 a busy one makes what it likes
            assert np.percentile(during, 99) < 2 * np.percentile(before + after, 99), line
    deadline = time.monotonic() + 10
    while process.descriptors > before_fds + 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.descriptors <= before_fds + 4


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("where", ["publish", "door"] if FULL else ["door"])
def test_a_client_that_floods_is_shut_out_and_the_others_come_back(where: str, kind: str, site: Site) -> None:
    process = site.proxy if where == "door" else site.node
    endpoint, server = (site.door, "proxy") if where == "door" else (site.endpoint, "node")
    before_mb = process.memory_mb
    process.peak_mb = before_mb
    with Subscriber(endpoint, ["hall"], curve=site.keys("viewer", server), stall_after_s=60) as viewer:
        assert viewer.read(10_000) is not None
        flooder = site.keys("flooder", server)
        length = len(process.log)
        with attack(kind, endpoint, FLOOD, flooder) as attacker:
            latencies_ms(viewer, process, until=attacker)
        latencies = latencies_ms(viewer, process, until=1.0)
        line = report(f"{where}, {kind} x {FLOOD}", process, after=latencies)
        assert len(latencies) > 10, line
        assert f"a client floods {endpoint}: its key {flooder.public.decode()} is refused" in process.log[length:], line
        assert process.peak_mb - before_mb < MAX_GROWTH_MB, line
        with Subscriber(endpoint, curve=flooder) as again:
            assert again.read(500) is None
    process.process.send_signal(1)  # SIGHUP: reading the keys again forgives it
    deadline = time.monotonic() + 10
    with Subscriber(endpoint, curve=flooder) as again:
        while again.read(200) is None:
            assert time.monotonic() < deadline


def test_an_unfinished_message_is_cut_off_before_it_fills_the_memory() -> None:
    """ZeroMQ itself would go on for ever. A player stands for all sockets without keys."""
    node = Process("run", "synthetic.yaml", "--set", "publish.endpoint=tcp://127.0.0.1:*")
    try:
        endpoint = node.find(r"publishing at (\S+)")
        with contextlib.suppress(subprocess.TimeoutExpired), attack("endless", endpoint, 3_000_000) as attacker:
            while attacker.poll() is None:
                _ = node.memory_mb
                time.sleep(0.02)
        assert "memory has grown by" in node.log
        assert node.peak_mb < 1000
        with Subscriber(endpoint) as subscriber:
            assert subscriber.read(10_000) is not None
    finally:
        assert node.end() == 0


def test_a_player_survives_the_same(tmp_path: Path, make_raw_node: Any) -> None:
    path = tmp_path / "made.mcap"
    record(path, make_raw_node())
    player = Process("play", str(path), "--endpoint", "tcp://127.0.0.1:*", "--loop")
    try:
        endpoint = player.find(r"publishing at (\S+): ")
        with Subscriber(endpoint, stall_after_s=60) as subscriber, attack("malformed", endpoint, TIMES) as attacker:
            while attacker.poll() is None:
                subscriber.latest(100)
            assert subscriber.read(10_000) is not None
            assert subscriber.malformed == 0
    finally:
        assert player.end() == 0


def record(path: Path, source: Any) -> None:
    """A recording of what a raw node sends."""
    with Recorder(path) as recorder, Subscriber(source.endpoint, on_message=recorder.write) as subscriber:
        source.await_subscription()
        source.schema()
        for sequence in range(30):
            source.frame(sequence)
        while recorder.frames < 30:
            assert subscriber.read(10_000) is not None
