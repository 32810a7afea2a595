"""A Kinect v2 that serves scripts: a stand-in of Kinect20.dll below the real pykinect2, on Linux (tests/kinect_v2/)."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skelanon.configs.schema import KinectV2Settings
from skelanon.sensors.factory import create_sensor
from skelanon.sensors.kinect_v2.layout import JOINT
from skelanon.sensors.sensor import Sensor

WINDOWS = Path(__file__).parents[1] / "kinect_v2"
ACTIONS = ("frame", "pending", "fail", "lost", "abort", "exit", "hang", "joints fail")
BODY = np.dtype([("tracked", "u4"), ("padding", "V4"), ("id", "u8"), ("joints", JOINT, 25), ("end", "V4")])
STEP = np.dtype([("action", "u4"), ("pause_ms", "u4"), ("ticks", "i8"), ("bodies", BODY, 6)])
HEAD = np.dtype([("steps", "u4"), ("loop", "u4"), ("loop_ticks", "i8")])
PERIOD_TICKS = 333_333
Steps = NDArray[Any]

NEEDS = [
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="needs Linux and gcc"),
    pytest.mark.skipif(not (find_spec("pykinect2") and find_spec("comtypes")), reason="needs pykinect2 and comtypes"),
]


def steps(count: int, *, bodies: int = 2, seed: int = 0) -> Steps:
    """Frames in sequence: bodies anywhere, in places anywhere, with the large ids of Kinect."""
    rng = np.random.default_rng(seed)
    made = np.zeros(count, STEP)
    made["ticks"] = 70_000_000 + PERIOD_TICKS * np.arange(count)
    places = rng.permuted(np.tile(np.arange(6), (count, 1)), axis=1)[:, :bodies]
    np.put_along_axis(made["bodies"]["tracked"], places, 1, axis=1)
    made["bodies"]["id"] = np.where(made["bodies"]["tracked"], 72_057_594_037_927_936 + np.arange(6), 0)
    joints = made["bodies"]["joints"]
    joints["type"] = np.arange(25)
    joints["position"] = rng.normal(0, 2, joints["position"].shape)
    joints["state"] = rng.integers(0, 3, joints["state"].shape)
    return made


def faulty(action: str) -> Steps:
    """10 frames, and then a fault."""
    script = steps(11)
    script["action"][10] = ACTIONS.index(action)
    return script


class Kinect:
    """What is connected to a machine that looks like Windows."""

    def __init__(self, script: Path) -> None:
        self.script = script

    def plug(self, script: Steps, *, loop: bool = False) -> None:
        head = np.array([(len(script), loop, PERIOD_TICKS * len(script))], HEAD)
        new = self.script.with_suffix(".new")
        new.write_bytes(head.tobytes() + script.tobytes())
        os.replace(new, self.script)  # at once, as a plug goes in

    def calls(self) -> list[str]:
        return (self.script.parent / "calls").read_text().splitlines()

    def sensor(self, **settings: Any) -> Sensor:
        patient = {"hang_timeout_s": 30.0, "frame_timeout_s": 30.0}
        return create_sensor(KinectV2Settings.model_validate({"kind": "kinect_v2", **patient, **settings}))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-in."""
    path = tmp_path_factory.mktemp("kinect") / "kinect20.so"
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([*command, WINDOWS / "kinect20.c", "-o", path], check=True)
    return path


@pytest.fixture
def windows(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started look like Windows."""
    monkeypatch.setenv("PYTHONPATH", str(WINDOWS))
    monkeypatch.setenv("KINECT20", str(library))


@pytest.fixture
def kinect(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kinect:
    script = tmp_path / "kinect" / "script"
    script.parent.mkdir()
    monkeypatch.setenv("KINECT_SCRIPT", str(script))
    return Kinect(script)
