"""Azure Kinects that serve scripts: stand-ins of the libraries below the real pykinect_azure (tests/k4a/)."""

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

from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.azure_joints import KINECT_FROM_AZURE
from skelanon.sensors.azure_kinect.layout import BODY
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.factory import create_sensor
from skelanon.sensors.sensor import Sensor

SOURCES = Path(__file__).parents[1] / "k4a"
ACTIONS = (
    "frame", "lost", "no capture", "capture without depth", "tracker times out", "tracker fails", "leak", "abort",
    "hang", "exit", "tracker hangs",
)  # fmt: skip
_NUMBERS = [("action", "u4"), ("amount", "u4"), ("usec", "u8"), ("bodies", "u4"), ("pause_ms", "u4")]
STEP = np.dtype([*_NUMBERS, ("body", BODY, 3), ("padding", "V4")])
HEAD = np.dtype([("serial", "S32"), ("steps", "u4"), ("loop", "u4"), ("loop_usec", "u8")])
PERIOD_USEC = 33_333
SERIAL = "000739291112"
Steps = NDArray[Any]

NEEDS = [
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="needs Linux and gcc"),
    pytest.mark.skipif(find_spec("pykinect_azure") is None, reason="needs skelanon[azure]"),
]


def steps(count: int, *, bodies: int = 2, seed: int = 0, pause_ms: int = 0) -> Steps:
    """A camera's frames in sequence: bodies anywhere, with ids from 1 on."""
    rng = np.random.default_rng(seed)
    made = np.zeros(count, STEP)
    made["usec"] = 5_000_000 + PERIOD_USEC * np.arange(count)
    made["bodies"] = bodies
    made["pause_ms"] = pause_ms
    made["body"]["id"] = (1, 2, 3)
    joints = made["body"]["joints"]
    joints["position"] = rng.normal(0, 1000, joints["position"].shape)
    joints["confidence"] = rng.integers(0, 4, joints["confidence"].shape)
    return made


def poses(count: int, seed: int) -> NDArray[np.float64]:
    """Who faces the camera at a place of his own, (count, 25, 3) metres, camera axes."""
    pose = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None]) + (0.1 * seed, 0.1, 3.0)
    noisy: NDArray[np.float64] = pose + np.random.default_rng(seed).normal(0, 0.003, (count, 25, 3))
    return noisy


def persons(count: int, seed: int, bodies: int = 1, pause_ms: int = 10) -> Steps:
    """Bodies of human proportions, side by side in front of the camera."""
    made = steps(count, bodies=bodies, seed=seed, pause_ms=pause_ms)
    for body in range(bodies):
        joints = 1000 * (poses(count, seed) - (0.9 * body, 0, 0)) * (-1, -1, 1)
        made["body"]["joints"]["position"][:, body, KINECT_FROM_AZURE] = joints
    return made


def faulty(action: str, *, amount: int = 0, count: int = 1) -> Steps:
    """20 frames, and then a fault."""
    script = persons(20 + count, seed=0)
    script["action"][20:], script["amount"][20:] = ACTIONS.index(action), amount
    return script


def write_script(path: Path, script: Steps, *, serial: str = SERIAL, loop: bool = False) -> None:
    head = np.array([(serial.encode(), len(script), loop, PERIOD_USEC * len(script))], HEAD)
    new = path.with_suffix(".new")
    new.write_bytes(head.tobytes() + script.tobytes())
    os.replace(new, path)  # at once, as a plug goes in


class Cameras:
    """What is plugged in, and which sensors read it."""

    def __init__(self, libraries: Path, folder: Path) -> None:
        self.libraries, self.folder = libraries, folder

    def plug(self, number: int, script: Steps, *, serial: str = SERIAL, loop: bool = False) -> None:
        write_script(self.folder / f"{number}.script", script, serial=serial, loop=loop)

    def unplug(self, number: int) -> None:
        (self.folder / f"{number}.script").unlink()

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def sensor(self, **settings: Any) -> Sensor:
        patient = {"hang_timeout_s": 30.0, "frame_timeout_s": 30.0}
        common = {"kind": "azure_kinect", "libraries": str(self.libraries)}
        return create_sensor(AzureKinectSettings.model_validate({**common, **patient, **settings}))


def compile_libraries(folder: Path) -> Path:
    """The stand-ins, in a folder."""
    for library in ("libk4a.so", "libk4arecord.so", "libk4abt.so", "libonnxruntime.so.1.10.0"):
        source = SOURCES / f"{library[3:-3]}.c" if library.endswith(".so") else "/dev/null"
        command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-O1", "-shared", "-fPIC", "-x", "c"]
        subprocess.run([*command, source, "-o", folder / library], check=True)
    return folder


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled stand-ins."""
    return compile_libraries(tmp_path_factory.mktemp("k4a"))


@pytest.fixture
def cameras(libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cameras:
    monkeypatch.setenv("K4A_SCRIPTS", str(tmp_path))
    return Cameras(libraries, tmp_path)
