"""`skelanon capture`, as it is run beside a sensor: its settings, its keys, its end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from skelanon.cli.checks import configured
from skelanon.cli.exits import Exit, code_of
from skelanon.cli.main import app
from skelanon.configs import ConfigError, check, load_capture, load_settings
from skelanon.sensors import LinkError, SensorError
from skelanon.sensors.keys import create_keys
from skelanon.stream import Node, Subscriber, create_node

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "skelanon.cli.main", "capture"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
SYNTHETIC = {"kind": "synthetic", "persons": 1, "rate_hz": 100.0}


def settings_file(folder: Path, **settings: object) -> Path:
    path = folder / "capture.yaml"
    path.write_text(yaml.safe_dump({"sensor": SYNTHETIC} | settings))
    return path


@contextmanager
def started(config: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*COMMAND, str(config), *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            yield process
        finally:
            process.kill()


def error_of(config: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_capture(config, overrides)
    return str(caught.value)


def test_the_shipped_pair_fits_together() -> None:
    (sensor,) = load_settings("remote.yaml").sensors.values()
    sender = load_capture("capture.yaml")
    assert sensor.kind == "remote"
    assert sender.curve is not None
    assert sensor.curve is not None
    assert sender.endpoint.rpartition(":")[2] == sensor.endpoint.rpartition(":")[2]
    assert Path(sensor.curve.sender).stem == Path(sender.curve.secret_key).stem
    assert Path(sender.curve.node).stem == Path(sensor.curve.secret_key).stem


def test_the_configurations_in_the_documentation_load(tmp_path: Path) -> None:
    node, sender = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "remote.md").read_text("utf-8"), re.DOTALL)
    assert check(yaml.safe_load(node), "docs").sensors["hall"].kind == "remote"
    (tmp_path / "capture.yaml").write_text(sender)
    assert load_capture(tmp_path / "capture.yaml").curve is not None


def test_what_cannot_be_captured_is_named(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    assert "`sensor.kind` is 'remote'" in error_of(config, "sensor.kind=remote")
    assert "`fast` sensors wait for slow readers" in error_of(config, "sensor.fast=true")
    replay = "{kind: replay, path: secret, timestamps: original}"
    words = error_of(config, f"sensor={replay}")
    assert "`timestamps` must be `now`" in words
    assert "secret" not in words
    assert "`curve.node` is missing" in error_of(config, "curve.secret_key=a")
    assert "`sensors` is not a setting" in error_of(config, "sensors.hall.kind=synthetic")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": "tcp://10.0.0.5:7401"}, "raw frames go there with `curve` only"),
        ({"curve": {"secret_key": "none.key_secret", "node": "none.key"}}, "cannot read the key file none.key_secret"),
        ({"endpoint": "udp://10.0.0.5:7401"}, "it must be tcp://ADDRESS:PORT"),
    ],
)
def test_without_keys_it_does_not_start(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=words):
        CliRunner().invoke(app, ["capture", str(settings_file(tmp_path, **change))], catch_exceptions=False)


def test_a_sensor_captured_here_is_published_there_and_ends_when_asked(tmp_path: Path, run_node: RunNode) -> None:
    node_key, node_secret = create_keys(tmp_path, "node")
    public, secret = create_keys(tmp_path, "sender")
    endpoint = f"ipc://{tmp_path}/raw"
    remote = {"kind": "remote", "endpoint": endpoint, "curve": {"secret_key": str(node_secret), "sender": str(public)}}
    published = f"ipc://{tmp_path}/published"
    config = settings_file(tmp_path, endpoint=endpoint, curve={"secret_key": str(secret), "node": str(node_key)})
    with (
        run_node(lambda: create_node(check({"sensors": {"hall": remote}, "publish": {"endpoint": published}}, "test"))),
        Subscriber(published, stall_after_s=60) as subscriber,
        started(config) as capture,
    ):
        states: list[str] = []
        deadline_s = time.monotonic() + 30
        while states.count("ok") < 50 and time.monotonic() < deadline_s:
            frame = subscriber.read(100)
            if frame is not None:
                states.append(frame.state)
                assert 0 <= frame.received_ns - frame.captured_ns < 2_000_000_000
        assert states.count("ok") == 50
        asked_s = time.monotonic()
        capture.send_signal(signal.SIGINT)
        _, log = capture.communicate(timeout=10)
        assert (capture.returncode, time.monotonic() - asked_s < 2.0) == (0, True), log
        while (frame := subscriber.read(5000)) is not None and frame.state != "fault":
            pass
        assert frame is not None, "the node is told at once"
    assert "the node at ipc://" in log
    assert "ended; connected; " in log


def test_the_doctor_says_what_a_remote_sensor_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_FIRST_FRAME_MS", 50)
    config = tmp_path / "node.yaml"
    config.write_text("sensors: {hall: {kind: remote, endpoint: 'tcp://127.0.0.1:*'}}")
    (line,) = configured.opened(str(config))
    assert (line.state, line.fatal) == ("warn", False)
    assert "run `skelanon capture` beside the sensor" in line.remedy
    config.write_text("sensors: {hall: {kind: remote, endpoint: 'tcp://0.0.0.0:7401'}}")
    (line,) = configured.opened(str(config))
    assert (line.state, line.fatal) == ("broken", True)
    assert "raw frames go there with `curve` only" in line.found


@pytest.mark.parametrize(
    ("sensor", "words"),
    [
        ({"kind": "replay", "path": "/nowhere/P042"}, "`sensor`: `path` cannot be read: No such file or directory"),
        ({"kind": "azure_kinect", "file": "/nowhere/P042"}, "`sensor`: `file` cannot be read: No such file"),
        ({"kind": "azure_kinect", "file": "/"}, "`sensor`: `file` cannot be read: Is a directory"),
        ({"kind": "azure_kinect", "file": "P\0"}, "`sensor`: `file` cannot be read: not a path"),
    ],
)
def test_a_recording_that_is_not_there_is_not_waited_for(sensor: dict[str, str], words: str, tmp_path: Path) -> None:
    config = settings_file(tmp_path, sensor=sensor, endpoint=f"ipc://{tmp_path}/nobody")
    with pytest.raises(SensorError, match=words) as caught:
        CliRunner().invoke(app, ["capture", str(config)], catch_exceptions=False)
    assert "P042" not in str(caught.value)
    assert code_of(caught.value) == Exit.USAGE


def test_a_recording_that_reaches_nobody_ends_with_a_no(tmp_path: Path) -> None:
    config = settings_file(tmp_path, sensor=SYNTHETIC | {"frames": 5}, endpoint=f"ipc://{tmp_path}/nobody")
    result = CliRunner().invoke(app, ["capture", str(config)])
    assert result.exit_code == 3


def test_it_needs_the_base_install_and_nothing_of_the_extras(tmp_path: Path) -> None:
    """As on a small machine beside the camera: no model runtime is there, and none is asked for."""
    config = settings_file(tmp_path, sensor=SYNTHETIC | {"frames": 20}, endpoint=f"ipc://{tmp_path}/raw")
    script = f"""
import sys, threading
absent = "torch onnx onnxruntime onnxscript tensorrt scipy sklearn matplotlib lightning mcap cv2 pykinect_azure".split()
sys.modules.update(dict.fromkeys(absent))
from skelanon.configs.schema import RemoteSettings
from skelanon.sensors.remote import Remote
seen = []
stop = threading.Event()
def node():
    with Remote(RemoteSettings(kind="remote", endpoint="ipc://{tmp_path}/raw")) as sensor:
        while not stop.is_set():
            try:
                frame = sensor.read(50)
            except Exception:
                continue
            if frame is not None:
                seen.append(frame)
thread = threading.Thread(target=node)
thread.start()
sys.argv = ["skelanon", "capture", {str(config)!r}]
from skelanon.cli.main import main
try:
    main()
except SystemExit as ended:
    code = ended.code
stop.set()
thread.join()
assert not code, code
assert 0 < len(seen) <= 20, len(seen)
assert all(sys.modules[name] is None for name in absent)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
