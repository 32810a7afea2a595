"""`skelanon status`: a real node, a node that fails, a node that is not there."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from skelanon.cli.status import locate
from skelanon.configs import check
from skelanon.sensors.keys import create_keys
from skelanon.stream import Subscriber, create_node
from skelanon.stream.node import Node

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

COMMAND = [sys.executable, "-m", "skelanon.cli.main", "status"]
ENVIRONMENT = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}


def status(*arguments: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False, env=ENVIRONMENT
    )


def tree(endpoint: str, **more: Any) -> dict[str, Any]:
    sensors = {"hall": {"kind": "synthetic"}, "yard": {"kind": "synthetic", "seed": 1}}
    return {"sensors": sensors, "publish": {"endpoint": endpoint}, **more}


def test_a_node_that_is_well(ipc: str, run_node: RunNode, tmp_path: Path) -> None:
    with run_node(lambda: create_node(check(tree(ipc), "test"))), Subscriber(ipc) as subscriber:
        assert subscriber.read(10_000) is not None
        shown = status(ipc)
        told = status(ipc, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert re.sub(" +", " ", lines[0]).strip() == "stream state up Hz in out dropped withheld faults ms p50 p99"
    assert re.fullmatch(r"hall +ok +00:00:\d\d +\d+\.\d +\d+\.\d +\d+ +0 +0 +\d+\.\d\d +\d+\.\d\d *", lines[1])
    assert lines[2].startswith("yard")
    assert re.fullmatch("model template [0-9a-f]{64}", lines[3])
    assert told.returncode == 0
    report = json.loads(told.stdout)
    assert (report["format"], report["ok"], report["endpoint"]) == (1, True, ipc)
    assert [stream["stream"] for stream in report["streams"]] == ["hall", "yard"]
    assert {"state", "uptime_s", "rate_in_hz", "latency_us", "model_sha256"} <= report["streams"][0].keys()


def test_a_stream_at_fault_is_not_well(make_raw_node: Callable[..., Any]) -> None:
    node = make_raw_node()
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.1):
            node.status("ok", "hall")
            node.status("fault", "yard")

    thread = threading.Thread(target=publish)
    thread.start()
    found = status(node.endpoint)
    done.set()
    thread.join()
    assert found.returncode == 3, found.stderr
    assert re.search("^hall +ok ", found.stdout, re.MULTILINE)
    assert re.search("^yard +fault ", found.stdout, re.MULTILINE)


def test_a_node_that_does_not_answer(ipc: str) -> None:
    done = status(ipc, "--timeout", 0.3)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"no status came from {ipc}: is a node there, and does it know your key?" in done.stderr


def test_a_configuration_says_where_and_costs_the_node_no_subscription(
    ipc: str, run_node: RunNode, tmp_path: Path
) -> None:
    settings = tree(ipc)
    settings["publish"]["wait_for_subscribers"] = 1
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
    with run_node(lambda: create_node(check(settings, "test"))) as node:
        found = status(tmp_path / "node.yaml")
        assert not node.started  # it still waits for somebody who wants frames
    assert found.returncode == 3
    assert re.search("^hall +waiting ", found.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("endpoint", "meant"),
    [("tcp://0.0.0.0:7411", "tcp://127.0.0.1:7411"), ("tcp://*:7411", "tcp://127.0.0.1:7411"),
     ("tcp://[::]:7411", "tcp://[::1]:7411"), ("tcp://10.0.0.5:7411", "tcp://10.0.0.5:7411")],
)  # fmt: skip
def test_an_address_to_bind_is_asked_on_this_machine(endpoint: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(tree(endpoint)))
    assert locate(str(tmp_path / "node.yaml")) == (meant, ["hall", "yard"])


def test_a_port_that_is_any_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(tree("tcp://127.0.0.1:*")))
    done = status(tmp_path / "node.yaml")
    assert done.returncode == 2
    assert "give the address that the node has logged" in " ".join(done.stderr.replace("│", " ").split())


def test_an_encrypted_node_answers_to_its_keys(ipc: str, run_node: RunNode, tmp_path: Path) -> None:
    (node_public, node_secret), (public, secret) = (create_keys(tmp_path / "keys", name) for name in ("node", "viewer"))
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / public.name).write_bytes(public.read_bytes())
    settings = tree(ipc)
    settings["publish"]["curve"] = {"secret_key": str(node_secret), "clients": str(tmp_path / "clients")}
    with run_node(lambda: create_node(check(settings, "test"))):
        assert status(ipc, "--timeout", 0.5).returncode == 4
        (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
        without = status(tmp_path / "node.yaml")
        assert without.returncode == 2
        assert "give --key and --node-key" in " ".join(without.stderr.replace("│", " ").split())
        assert status(ipc, "--key", secret, "--node-key", node_public, "--timeout", 20).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_watching_notices_a_node_that_vanishes(ipc: str) -> None:
    script = f"sensors: {{hall: {{kind: synthetic}}}}\npublish: {{endpoint: '{ipc}'}}\n"
    config = Path(ipc.removeprefix("ipc://")).with_name("node.yaml")
    config.write_text(script)
    run = [sys.executable, "-m", "skelanon.cli.main", "run", str(config)]
    watch = [*COMMAND, ipc, "--watch", "--json", "--timeout", "20"]
    with (
        subprocess.Popen(run, stderr=subprocess.PIPE) as node,
        subprocess.Popen(watch, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as watching,
    ):
        assert watching.stdout is not None
        states = [json.loads(watching.stdout.readline())["streams"][0]["state"] for _ in range(2)]
        node.kill()
        while (state := json.loads(watching.stdout.readline())["streams"][0]["state"]) != "silent":
            assert state in ("ok", "waiting")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 3
    assert states[-1] == "ok"
