"""`skelanon proxy`: a node behind it, reloading, its pages, its end."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.stream import Subscriber

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


class Process:
    """A command of skelanon, and what it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def wait_for(self, words: str) -> str:
        """What follows the words in the log, once they are there."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if words in line:
                    return line.partition(words)[2].strip()
            time.sleep(0.02)
        raise AssertionError(f"{words!r} is not in the log: {self.lines}")


@contextmanager
def command(*arguments: str) -> Iterator[Process]:
    line = [sys.executable, "-m", "skelanon.cli.main", *arguments]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def write(path: Path, tree: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@posix
def test_a_node_a_proxy_and_a_client(tmp_path: Path) -> None:
    keys = {name: create_keys(tmp_path / "keys", name) for name in ("node", "proxy", "viewer", "late")}
    for folder, client in (("of-node", "proxy"), ("of-proxy", "viewer")):
        (tmp_path / folder).mkdir()
        shutil.copy(keys[client][0], tmp_path / folder)
    curve = {"secret_key": str(keys["node"][1]), "clients": str(tmp_path / "of-node")}
    tree: dict[str, Any] = {
        "sensors": {"hall": {"kind": "synthetic"}},
        "publish": {"endpoint": "tcp://127.0.0.1:*", "curve": curve},
    }
    with command("run", write(tmp_path / "node.yaml", tree)) as node:
        endpoint = node.wait_for("publishing at")
        tree = {
            "secret_key": str(keys["proxy"][1]),
            "nodes": {"one": {"endpoint": endpoint, "key": str(keys["node"][0]), "streams": ["hall"]}},
            "doors": {
                "all": {"endpoint": "tcp://127.0.0.1:*", "clients": str(tmp_path / "of-proxy"), "streams": "all"}
            },
            "metrics": {"endpoint": "127.0.0.1:0"},
        }
        config = tmp_path / "proxy.yaml"
        with command("proxy", write(config, tree)) as proxy:
            address = proxy.wait_for("door all at").partition(": ")[0]
            pages = proxy.wait_for("readiness at")

            def subscriber(name: str) -> Subscriber:
                return Subscriber(address, curve=load_client_keys(keys[name][1], keys["proxy"][0]))

            with subscriber("viewer") as viewer, subscriber("late") as late:
                frame = viewer.read(20_000)
                assert frame is not None
                assert frame.stream == "hall"
                deadline = time.monotonic() + 10
                while viewer.streams["hall"].schema is None and time.monotonic() < deadline:
                    viewer.read(1000)
                assert viewer.streams["hall"].schema is not None
                assert late.read(100) is None
                with urllib.request.urlopen(f"{pages}/ready", timeout=10) as ready:
                    assert json.load(ready) == {"ready": True, "nodes": {"one": True}}
                with urllib.request.urlopen(f"{pages}/health", timeout=10) as health:
                    assert json.load(health)["healthy"] is True
                with urllib.request.urlopen(f"{pages}/metrics", timeout=10) as metrics:
                    lines = dict(line.rsplit(" ", 1) for line in metrics.read().decode().splitlines() if line[0] != "#")
                assert float(lines['skelanon_proxy_forwarded_total{node="one"}']) > 0
                assert float(lines['skelanon_proxy_malformed_total{node="one"}']) == 0
                assert 'skelanon_proxy_clients_refused_total{door="all"}' in lines

                shutil.copy(keys["late"][0], tmp_path / "of-proxy")
                proxy.process.send_signal(signal.SIGHUP)
                proxy.wait_for("reloaded: 1 nodes, 1 doors")
                assert late.read(10_000) is not None
                write(config, tree | {"secret_key": "none"})
                proxy.process.send_signal(signal.SIGHUP)
                assert "cannot read the key file none" in proxy.wait_for(
                    "settings are not reloaded, all stays as it was:"
                )
                assert late.read(5_000) is not None
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.process.wait(10) == 0
            secrets = [load_client_keys(pair[1], pair[0]).secret.decode() for pair in keys.values()]
            assert not [line for line in proxy.lines + node.lines for secret in secrets if secret in line]


def test_a_proxy_without_its_keys_says_which(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "skelanon.cli.main", "proxy", "proxy.yaml"],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot read the key file keys/proxy.key_secret" in done.stderr
