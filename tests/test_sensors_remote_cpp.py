"""The example in C++ is compiled as it says itself, and its frames arrive: docs/remote.md is enough to write one."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from skelanon.configs.schema import RemoteCurveSettings, RemoteSettings
from skelanon.sensors import INDEX, BodyFrame, Interruption
from skelanon.sensors.keys import create_keys
from skelanon.sensors.remote import Remote

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "remote_cpp" / "sender.cpp"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the example's command line is for g++")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled by the command in its first lines, with every warning an error."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here (Debian package g++)")
    looked = subprocess.run(["g++", "-E", "-x", "c++", "-"], input="#include <zmq.h>", capture_output=True, text=True)
    if looked.returncode:
        pytest.skip("no headers of libzmq here (Debian package libzmq3-dev)")
    folder = tmp_path_factory.mktemp("cpp")
    shutil.copy(SOURCE, folder)
    found = re.search(r"^// +(g\+\+ .*)$", SOURCE.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    command = [*shlex.split(found[1]), "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "sender"


@contextmanager
def sending(program: Path, *arguments: str | os.PathLike[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def frames_of(sensor: Remote, count: int) -> list[BodyFrame]:
    frames: list[BodyFrame] = []
    deadline_s = time.monotonic() + 20
    while len(frames) < count and time.monotonic() < deadline_s:
        frame = sensor.read(100)
        if frame is not None:
            assert 0 <= time.time_ns() - frame.captured_ns < 500_000_000
            frames.append(frame)
    assert len(frames) == count
    return frames


def test_its_frames_arrive_and_it_says_goodbye(program: Path) -> None:
    with (
        Remote(RemoteSettings(kind="remote", endpoint="tcp://127.0.0.1:*")) as sensor,
        sending(program, sensor.endpoint, "2.5") as process,
    ):
        frames = frames_of(sensor, 40)
        assert [frame.discontinuity for frame in frames] == [True] + [False] * 39
        assert {frame.track_ids for frame in frames} == {(1,)}
        assert all((frame.tracking == 2).all() for frame in frames)
        joints = np.stack([frame.joints[0] for frame in frames])
        head, left, right = (joints[:, INDEX[name], 1] for name in ("Head", "HandLeft", "HandRight"))
        assert (head == np.float32(0.72)).all()
        assert (left == np.float32(-0.18)).all()
        assert np.ptp(right) > 0.17, "it is the right hand that is raised: 0.9 |sin t|, from any moment on"
        assert (joints[:, INDEX["ShoulderLeft"], 0] < joints[:, INDEX["ShoulderRight"], 0]).all()
        with pytest.raises(Interruption, match="the sender has ended"):
            frames_of(sensor, 1000)
        assert (sensor.receiver.malformed, sensor.receiver.repeated, sensor.receiver.late) == (0, 0, 0)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert 40 <= int(output.split()[0]) < 90


def test_it_speaks_curve_and_comes_back_when_the_node_does(program: Path, tmp_path: Path) -> None:
    node, node_secret = create_keys(tmp_path, "node")
    public, secret = create_keys(tmp_path, "sender")
    _, stranger = create_keys(tmp_path, "stranger")
    curve = RemoteCurveSettings(secret_key=str(node_secret), sender=str(public))
    with Remote(RemoteSettings(kind="remote", endpoint="tcp://127.0.0.1:*", curve=curve)) as sensor:
        again = RemoteSettings(kind="remote", endpoint=sensor.endpoint, curve=curve)
        with sending(program, sensor.endpoint, "60", stranger, node):
            deadline_s = time.monotonic() + 10
            while sensor.refused == 0 and time.monotonic() < deadline_s:
                assert sensor.read(50) is None
        assert sensor.refused > 0
        with sending(program, sensor.endpoint, "60", secret, node):
            frames_of(sensor, 10)
            sensor.close()
            with Remote(again) as restarted:
                frames = frames_of(restarted, 10)
                assert frames[0].discontinuity
                assert restarted.refused == 0


def test_it_sends_nothing_to_other_machines_in_the_clear(program: Path) -> None:
    for endpoint in ("tcp://10.0.0.1:7401", "tcp://127.0.0.1.example:7401"):
        with sending(program, endpoint, "1") as process:
            assert "needs keys" in process.communicate(timeout=10)[1]
            assert process.returncode == 2
    with sending(program, "tcp://10.0.0.1:7401", "1", "none", "none") as process:
        assert "no public-key in none" in process.communicate(timeout=10)[1]
