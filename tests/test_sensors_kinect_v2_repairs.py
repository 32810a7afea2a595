"""How pykinect2 0.1.0 fails today, unrepaired, and what becomes of it: the real package on a stand-in of Windows."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from skelanon.sensors.camera_process import CameraError
from skelanon.sensors.kinect_v2.bindings import REPAIRS, load
from skelanon.sensors.kinect_v2.problems import MESSAGES, Problem

WINDOWS = Path(__file__).parent / "kinect_v2"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="needs Linux and gcc"),
    pytest.mark.skipif(not (find_spec("pykinect2") and find_spec("comtypes")), reason="needs pykinect2 and comtypes"),
]

LOAD = """
from skelanon.sensors.camera_process import CameraError
from skelanon.sensors.kinect_v2.bindings import load
try:
    print("works:", load().IBody.__name__)
except CameraError as error:
    print(error.problem.name)
"""

RUNTIME = """
import _thread, sys
from skelanon.sensors.kinect_v2 import bindings
sys.modules["pykinect2.PyKinectV2"] = bindings.load()
from pykinect2.PyKinectRuntime import KinectBodyFrameData, PyKinectRuntime
"""

Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs code in a new process that looks like Windows, and finds packages in some folders first."""


@pytest.fixture(scope="module")
def on_windows(tmp_path_factory: pytest.TempPathFactory) -> Run:
    library = tmp_path_factory.mktemp("kinect") / "kinect20.so"
    source = "int GetDefaultKinectSensor(void) { return 0; }"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source.encode(), check=True)

    def run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(map(str, (*folders, WINDOWS)))
        environment = os.environ | {"PYTHONPATH": path, "KINECT20": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def declarations() -> Path:
    """PyKinectV2.py, as it was installed."""
    spec = find_spec("pykinect2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "PyKinectV2.py"


def another(folder: Path, source: bytes) -> Path:
    """A folder with a pykinect2 of other content."""
    (package := folder / "pykinect2").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "PyKinectV2.py").write_bytes(source)
    return folder


def test_unrepaired_it_fails_on_a_size_and_then_on_the_version_of_comtypes(on_windows: Run, tmp_path: Path) -> None:
    first = on_windows("import pykinect2.PyKinectV2")
    assert first.stderr.endswith("AssertionError: 80\n")
    (size, right), (version, _) = REPAIRS.items()
    source = declarations().read_bytes()
    assert source.count(size) == source.count(version) == 1
    second = on_windows("import pykinect2.PyKinectV2", another(tmp_path, source.replace(size, right)))
    assert second.stderr.endswith("ImportError: Wrong version\n")


def test_repaired_it_works_and_the_package_stays_as_it_is(on_windows: Run) -> None:
    folder = declarations().parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code = LOAD + "import sys\nprint(any(name.startswith('pykinect2.') for name in sys.modules))"
    done = on_windows(code)
    assert (done.stdout, done.stderr) == ("works: IBody\nFalse\n", "")  # who imports it elsewhere gets it as it is
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_class_above_the_declarations_fails_too_and_is_not_used(on_windows: Run) -> None:
    clock = on_windows(
        RUNTIME + "runtime = PyKinectRuntime.__new__(PyKinectRuntime)\n"
        "runtime._sensor, runtime._body_frame_bodies = None, object()\n"
        "runtime._body_frame_lock = _thread.allocate_lock()\n"
        "runtime.get_last_body_frame()"
    )
    assert "AttributeError: module 'time' has no attribute 'clock'" in clock.stderr
    names = on_windows(
        RUNTIME + "from types import SimpleNamespace\nKinectBodyFrameData(SimpleNamespace(FloorClipPlane=0), [], 6)"
    )
    assert "AttributeError: module 'numpy' has no attribute 'object'" in names.stderr


def test_a_package_of_other_content_is_used_where_it_works_and_refused_where_not(
    on_windows: Run, tmp_path: Path
) -> None:
    source = declarations().read_bytes()
    (size, _), (version, _) = REPAIRS.items()
    without_states = b"]\r\nassert sizeof(_Joint) == 16"
    contents = [
        source.replace(size, size.replace(b"72", b"80")).replace(version, b"").replace(b"\r\n", b"\n"),  # a fork
        source.replace(size, size.replace(b"72", b"64")),
        source.replace(version, version.replace(b"''", b"'1.1'")),
        re.sub(
            rb"    \('TrackingState', _TrackingState\),\r\n]\r\nassert sizeof\(_Joint\) == 20", without_states, source
        ),
        source.replace(b"JointType_Count", b"JointType_Counted"),
        source[: len(source) // 2],
        b"raise RuntimeError('whatever')",
    ]
    assert len({source, *contents}) == 1 + len(contents)
    folders = [another(tmp_path / str(number), content) for number, content in enumerate(contents)]
    each = "".join(
        f"sys.modules.pop('pykinect2', None)\nsys.path.insert(0, {str(folder)!r})\n{LOAD}" for folder in folders
    )
    done = on_windows("import sys\n" + each)
    assert (done.stdout.split("\n"), done.stderr) == (["works: IBody", *6 * ["PACKAGE_UNKNOWN"], ""], "")


@pytest.mark.parametrize("missing", ["pykinect2", "comtypes"])
def test_without_a_package_the_install_line_is_given(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "WinDLL", object, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CameraError) as caught:
        load()
    assert caught.value.problem is Problem.PACKAGE_MISSING
    assert "pip install 'skelanon[kinect-v2]'" in MESSAGES[Problem.PACKAGE_MISSING]
