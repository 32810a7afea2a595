"""`skelanon doctor`: sensors, network, keys and limits of a machine, and what a configuration asks for."""

import ctypes
import ctypes.util
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from skelanon.cli.checks import configured, devices, isolated, machine, models, network
from skelanon.cli.checks.line import Line, without_folders
from skelanon.cli.checks.plan import examine
from skelanon.configs import check
from skelanon.configs.schema import CurveSettings, PublishSettings, RunnerName
from skelanon.export import default_bundle_path, read_bundle
from skelanon.export.availability import Availability
from skelanon.sensors.skeleton_writer import write_demo_recording
from skelanon.stream import create_keys

NAME = "S001C001P042R001A001"
posix = pytest.mark.skipif(os.name != "posix", reason="rights of Posix")
linux = pytest.mark.skipif(sys.platform != "linux", reason="what the kernel of Linux tells")


def only(lines: Iterable[Line]) -> Line:
    """The one line that there is."""
    (line,) = lines
    return line


def by_what(lines: Iterable[Line]) -> dict[str, Line]:
    return {line.what: line for line in lines}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """Writes a configuration; the keywords replace its parts."""

    def write(**changes: Any) -> str:
        tree = {"sensors": {"hall": {"kind": "synthetic"}}, "publish": {"endpoint": "tcp://127.0.0.1:*"}} | changes
        path = tmp_path / "node.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path)

    return write


@pytest.fixture
def taken() -> Iterator[str]:
    """An endpoint that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def plug(devices_: Path, name: str, vendor: str, product: str, number: int) -> None:
    """What sysfs shows of a device."""
    folder = devices_ / name
    folder.mkdir(parents=True)
    values = {"idVendor": vendor, "idProduct": product, "busnum": "2", "devnum": str(number), "serial": NAME}
    for file, value in values.items():
        (folder / file).write_text(f"{value}\n")


@linux
def test_cameras_at_the_usb_ports(tmp_path: Path) -> None:
    def cameras(*, allowed: bool = True) -> dict[str, Line]:
        return by_what(devices.usb_cameras(tmp_path / "sys", tmp_path / "dev", lambda node: allowed))

    assert {line.state for line in cameras().values()} == {"missing"}
    plug(tmp_path / "sys", "2-1", "045e", "097a", 3)
    plug(tmp_path / "sys", "2-9", "045e", "0745", 9)  # a mouse
    (tmp_path / "sys" / "2-1:1.0").mkdir()  # an interface
    line = cameras()["Azure Kinect"]
    assert (line.state, "power supply" in line.remedy) == ("broken", True)
    plug(tmp_path / "sys", "2-1.1", "045e", "097c", 4)
    plug(tmp_path / "sys", "2-2", "2bc5", "066b", 5)
    assert cameras()["Azure Kinect"].found == "1 plugged in, and may be opened"
    assert cameras()["Orbbec camera"].state == "ok"
    forbidden = cameras(allowed=False)
    assert "99-k4a.rules" in forbidden["Azure Kinect"].remedy
    assert "99-obsensor-libusb.rules" in forbidden["Orbbec camera"].remedy
    assert NAME not in str(forbidden)
    asked: list[Path] = []

    def may_open(node: Path) -> bool:
        asked.append(node)
        return True

    list(devices.usb_cameras(tmp_path / "sys", Path("/dev/bus/usb"), may_open))
    assert asked == [Path("/dev/bus/usb/002/004"), Path("/dev/bus/usb/002/005")]


@linux
def test_libraries_of_the_makers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_FOLDERS", {"linux": (str(tmp_path),)})
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libc.so.6" if name == "k4arecord" else None)
    (tmp_path / "libk4a.so").write_text("not a library")
    lines = by_what(devices.kinect_libraries("linux", "x86_64"))
    assert lines["libk4a"].state == "broken"
    assert "libk4a.so: " in lines["libk4a"].found
    assert str(tmp_path) not in str(lines)
    assert lines["libk4arecord"].state == "ok"
    assert "libk4abt1.1" in lines["libk4abt"].remedy
    assert "x86-64 only" in by_what(devices.kinect_libraries("linux", "aarch64"))["libk4abt"].found


def test_kinect_v2_is_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(devices.kinect_v2("linux")).found == "its runtime exists for Windows only"
    there: dict[str, str | None] = {"Kinect20": None, "pykinect2": None}
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: there[name])
    monkeypatch.setattr(devices, "version_of", lambda name: there[name])
    assert only(devices.kinect_v2("win32")).remedy.endswith("install the Kinect for Windows Runtime 2.0")
    there["Kinect20"] = "Kinect20.dll"
    assert only(devices.kinect_v2("win32")).remedy.endswith("pip install 'skelanon[kinect-v2]'")
    there["pykinect2"] = "0.1.0"
    assert only(devices.kinect_v2("win32")).state == "ok"


def test_no_folder_of_a_user_is_shown() -> None:
    for text, shown in (
        ("/home/ann/lib/libk4a.so: invalid ELF header", "libk4a.so: invalid ELF header"),
        ("dlopen('/home/ann/x.so')", "dlopen('x.so')"),
        (r"C:\Users\ann\k4a.dll: not found", "k4a.dll: not found"),
        ("libcuda.so.1 cannot be loaded: and/or so", "libcuda.so.1 cannot be loaded: and/or so"),
    ):
        assert without_folders(text) == shown


def test_an_occupied_port(taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = only(network.endpoint(PublishSettings(endpoint=taken)))
    assert line.found == f"{taken}: Address already in use"
    assert line.fatal
    monkeypatch.setattr(network, "_bind_error", lambda endpoint: "Address already in use")
    line = only(network.default_endpoint())  # of a node that is running, perhaps
    assert (line.what, line.state, line.fatal) == ("tcp://127.0.0.1:7400", "warn", False)


@posix
def test_addresses_that_cannot_be_published_at(ipc: str) -> None:
    Path(ipc.removeprefix("ipc://")).write_text("a file")
    for endpoint, expected in (
        (ipc, "a file is there that is not a socket"),
        ("tcp://192.0.2.1:7400", "can be reached by other machines, and `publish.curve` is not set"),
        ("udp://127.0.0.1:7400", "it must be tcp://ADDRESS:PORT or ipc://PATH"),
    ):
        line = only(network.endpoint(PublishSettings(endpoint=endpoint)))
        assert line.fatal
        assert expected in f"{line.found}; {line.remedy}"


@posix
def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = CurveSettings(secret_key="keys/node.key_secret", clients="clients")
    lines = list(network.keys(settings))
    assert [line.fatal for line in lines] == [True, True]
    assert lines[0].found == "cannot read the key file keys/node.key_secret: no such file"
    assert "skelanon keys new NAME" in lines[0].remedy
    secret = create_keys(Path("keys"), "node")[1]
    create_keys(Path("clients"), "viewer")
    assert {line.state for line in network.keys(settings)} == {"ok"}
    secret.chmod(0o644)
    line = next(network.keys(settings))
    assert (line.state, line.remedy) == ("broken", "run: chmod 600 keys/node.key_secret")
    built_in, loose = network.curve()
    assert (built_in.state, loose.state, loose.remedy) == ("ok", "warn", "run: chmod 600 keys/node.key_secret")
    Path("clients/viewer.key").unlink()
    assert "nobody could subscribe" in list(network.keys(settings))[1].found
    monkeypatch.setattr("zmq.has", lambda capability: False)
    assert next(network.curve()).state == "missing"


def test_bundles(tmp_path: Path) -> None:
    model = default_bundle_path().read_bytes()
    (tmp_path / "edited.onnx").write_bytes(model[:100] + bytes([model[100] ^ 1]) + model[101:])
    line = only(models.bundle(str(tmp_path / "none.onnx")))
    assert (line.what, line.found) == ("`model.bundle`", "cannot read the bundle: No such file or directory")
    assert line.fatal
    assert only(models.bundle(str(tmp_path / "edited.onnx"))).fatal
    line = only(models.bundle("default", "f" * 64))
    assert line.found.startswith("the bundle's sha256 is ")
    assert line.fatal
    sha256 = read_bundle(default_bundle_path()).sha256
    found, speed = models.bundle(str(default_bundle_path()), sha256, "2")
    assert found.found == f"template, sha256 {sha256[:12]}, as `model.sha256` asks"
    assert speed.state == "ok"


def test_a_slow_model_is_yellow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_SLOW_US", 0.001)
    speed = list(models.bundle())[1]
    assert (speed.state, speed.fatal, "too slow for 30 Hz" in speed.remedy) == ("warn", False, True)


def test_a_recording_is_opened_and_not_named(tmp_path: Path, config: Callable[..., str]) -> None:
    recording = tmp_path / f"{NAME}.skeleton"
    path = config(sensors={"hall": {"kind": "replay", "path": str(recording)}})
    line = only(configured.opened(path))
    assert line.fatal
    assert line.found == "`path` cannot be read: No such file or directory"
    recording.write_text("nonsense")
    assert only(configured.opened(path)).fatal
    assert NAME not in str(only(configured.opened(path)))
    write_demo_recording(recording, seconds=0.2)
    assert only(configured.opened(path)).found == "replay: opens, and a frame came"


def test_a_sensor_that_hangs_is_named(
    tmp_path: Path, config: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(isolated, "TIMEOUT_S", 2.0)
    (tmp_path / "made_sensors.py").write_text(
        "import time\nfrom skelanon.cli.checks.line import Line\n"
        "def opened(config):\n"
        "    yield Line('sensors', '`sensors.a`', 'ok', config[-9:], needed=True)\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.setattr(configured, "opened", __import__("made_sensors").opened)
    tree = {"sensors": {name: {"kind": "synthetic"} for name in "ab"}}
    first, cut, second = configured.sensors(config(**tree), check(tree, "test"))
    assert (first.what, first.found) == ("`sensors.a`", "node.yaml")
    assert cut.found == "did not answer within 2 s"
    assert (second.what, second.fatal) == ("`sensors.b`", True)


def test_a_configuration_that_cannot_be_loaded_is_a_line(config: Callable[..., str]) -> None:
    settings, (line,) = configured.load(config(modle={}))
    assert settings is None
    assert line.fatal
    assert "`modle` is not a setting" in line.found
    settings, (line,) = configured.load(f"{NAME}.skeleton")
    assert line.fatal
    assert NAME not in str(line)


def test_everything_that_a_configuration_asks_for_is_looked_at(
    tmp_path: Path, config: Callable[..., str], taken: str
) -> None:
    curve = {"secret_key": str(tmp_path / "none"), "clients": str(tmp_path)}
    path = config(
        sensors={"hall": {"kind": "replay", "path": str(tmp_path / NAME)}},
        model={"bundle": "none.onnx"},
        publish={"endpoint": taken, "curve": curve},
    )
    lines = list(examine(path))
    wrong = ["`model.bundle`", "`sensors.hall`", "`publish.endpoint`"]
    wrong += ["`publish.curve.secret_key`", "`publish.curve.clients`"]
    assert [line.what for line in lines if line.fatal and line.what[0] == "`"] == wrong
    assert NAME not in str(lines)


@posix
def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 256))
    files, locked = machine.limits()
    assert (files.state, files.remedy.startswith("ulimit -n 1024")) == ("warn", True)
    assert (locked.state, locked.found[:14]) == ("warn", "at most 0 KiB,")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, 0))
    assert [line.found for line in machine.limits()] == ["no limit", "no limit"]


@linux
@pytest.mark.parametrize(
    ("code", "error_us", "found"),
    [(0, 500, "synchronised"), (5, 16_000_000, "not synchronised"), (-1, 0, "cannot be asked")],
)
def test_the_clock(code: int, error_us: int, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.clock()).what == "clock"  # the real call

    class Libc:
        def __init__(self, name: None) -> None: ...

        def adjtimex(self, state: Any) -> int:
            state._obj[3] = error_us
            return code

    monkeypatch.setattr(ctypes, "CDLL", Libc)
    assert only(machine.clock()).found == found


def test_disk_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def state(folder: Path) -> str:
        return only(machine.working_folder(folder)).state

    (tmp_path / "file").write_text("")
    assert (state(tmp_path), state(tmp_path / "new" / "er"), state(tmp_path / "file" / "x")) == ("ok", "ok", "broken")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert state(tmp_path) == "broken"
    assert only(machine.disk(tmp_path)).what == "disk"
    monkeypatch.setattr(machine, "_MIN_FREE", 1 << 62)
    assert only(machine.disk(tmp_path)).state == "warn"


def test_one_of_the_runners_that_are_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [
        Availability("cpu", True, "onnxruntime 1.20.0"),
        Availability("cuda", False, "no driver (/home/ann/libcuda.so.1): install the driver"),
        Availability("tensorrt", False, "its check failed (OSError)"),
    ]
    monkeypatch.setattr("skelanon.export.availability.available_runners", lambda: here)
    cuda = by_what(models.runners("cuda"))["runner cuda"]
    assert (cuda.found, cuda.remedy, cuda.fatal) == ("no driver (libcuda.so.1)", "install the driver", True)
    assert "choose another `model.runner`" in by_what(models.runners("tensorrt"))["runner tensorrt"].remedy
    assert not any(line.fatal for line in models.runners("cuda", "cpu"))
    tree: dict[str, Any] = {"sensors": {"hall": {"kind": "synthetic"}}}
    for model, wanted in (
        ({}, ("cpu",)),
        ({"runner": "cuda"}, ("cuda",)),
        ({"runner": "cuda", "fallback": "cpu"}, ("cuda", "cpu")),
        ({"runner": "auto"}, get_args(RunnerName)),
    ):
        assert configured.runners(check(tree | {"model": model}, "test")) == wanted


def test_the_cache_must_be_writable_where_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def line(**model: Any) -> list[Line]:
        return list(configured.cache(check({"sensors": {"hall": {"kind": "synthetic"}}, "model": model}, "test")))

    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path / "user"))
    (tmp_path / "file").write_text("")
    assert line() == []
    assert only(line(runner="tensorrt")).found == "the user's cache folder can be written"
    assert only(line(runner="tensorrt", cache=str(tmp_path / "file" / "x"))).fatal
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert only(line(runner="auto", cache=str(tmp_path))).fatal
