"""Sensors: the makers' libraries, and cameras at the USB ports."""

import ctypes
import ctypes.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .installed import version_of
from .line import Line, without_folders

_REPLAY: Final = "nothing, to replay recordings"
_SDK: Final = r"C:\Program Files\Azure Kinect SDK v1.4.{}\sdk\windows-desktop\amd64\release\bin"
_TRACKING_SDK: Final = r"C:\Program Files\Azure Kinect Body Tracking SDK\sdk\windows-desktop\amd64\release\bin"
_FOLDERS: Final = {
    "win32": (_SDK.format(2), _SDK.format(1), _TRACKING_SDK),
    "linux": tuple(f"/usr/lib/{machine}-linux-gnu" for machine in ("x86_64", "aarch64")),
}
"""Where pykinect_azure looks for them."""
_LIBRARIES: Final = {
    "k4a": ("cameras", "install the Azure Kinect SDK 1.4 (Debian package libk4a1.4), or Orbbec's K4A wrapper"),
    "k4arecord": ("camera recordings", "install the Azure Kinect SDK 1.4 (in libk4a1.4), or Orbbec's K4A wrapper"),
    "k4abt": ("body tracking", "install the Azure Kinect Body Tracking SDK 1.1 (Debian package libk4abt1.1)"),
}


@dataclass(frozen=True, slots=True)
class _Camera:
    """How a camera shows at the USB ports, and what gives users access to it."""

    name: str
    vendor: str
    products: frozenset[str]
    """Its parts; empty for all products of the vendor."""
    depth: str
    """The part without which it sees nothing; empty where there is but one."""
    rules: str


_CAMERAS: Final = (
    _Camera(
        "Azure Kinect",
        "045e",
        frozenset({"097a", "097b", "097c", "097d", "097e"}),
        "097c",
        "99-k4a.rules of the Azure Kinect SDK",
    ),
    _Camera("Orbbec camera", "2bc5", frozenset(), "", "99-obsensor-libusb.rules of the Orbbec SDK"),
)


def kinect_libraries(system: str = sys.platform, machine: str = "") -> Iterator[Line]:
    """The libraries of Azure Kinect and Orbbec Femto, loaded: run it in a child process."""
    for name, (gives, remedy) in _LIBRARIES.items():
        what = f"lib{name}" if system != "win32" else f"{name}.dll"
        file = _find(name, system)
        if name == "k4abt" and (machine or platform.machine()).lower() not in ("x86_64", "amd64"):
            found = f"{gives} exists for x86-64 only"
            yield Line("sensors", what, "missing", found, f"{_REPLAY}; else an x86-64 machine beside the camera")
        elif file is None:
            yield Line("sensors", what, "missing", f"{gives}: not found", f"{_REPLAY}; else {remedy}")
        else:
            error = _load_error(file)
            if error is None:
                yield Line("sensors", what, "ok", gives)
            else:
                yield Line("sensors", what, "broken", f"{gives}: {error}", f"{remedy}, and what it needs in turn")


def _find(name: str, system: str) -> str | None:
    for folder in _FOLDERS.get(system, ()):
        path = Path(folder) / (f"{name}.dll" if system == "win32" else f"lib{name}.so")
        if path.is_file():
            return str(path)
    return ctypes.util.find_library(name)


def _load_error(file: str) -> str | None:
    """What the system's loader says where it refuses a library."""
    try:
        ctypes.CDLL(file)
    except OSError as error:
        return without_folders(str(error))
    return None


def kinect_v2(system: str = sys.platform) -> Iterator[Line]:
    """Kinect v2, whose runtime tracks bodies on Windows only."""
    if system != "win32":
        found, remedy = "its runtime exists for Windows only", f"{_REPLAY}; else a Windows machine beside the sensor"
        yield Line("sensors", "Kinect v2", "missing", found, remedy)
        return
    version = version_of("pykinect2")
    if ctypes.util.find_library("Kinect20") is None:
        remedy = f"{_REPLAY}; else install the Kinect for Windows Runtime 2.0"
        yield Line("sensors", "Kinect v2", "missing", "Kinect20.dll is not there", remedy)
    elif version is None:
        remedy = f"{_REPLAY}; else pip install 'skelanon[kinect-v2]'"
        yield Line("sensors", "Kinect v2", "missing", "the runtime is there, pykinect2 is not", remedy)
    else:
        yield Line("sensors", "Kinect v2", "ok", f"runtime and pykinect2 {version}")


def _may_open(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK)


def usb_cameras(
    devices: Path = Path("/sys/bus/usb/devices"),
    nodes: Path = Path("/dev/bus/usb"),
    may_open: Callable[[Path], bool] = _may_open,
) -> Iterator[Line]:
    """Cameras at the USB ports, and whether this user may open them. Linux only; nothing of them is opened."""
    if sys.platform != "linux":
        return
    parts = [part for folder in sorted(devices.glob("*")) if (part := _part(folder)) is not None]
    for camera in _CAMERAS:
        here = [
            (product, node)
            for vendor, product, node in parts
            if vendor == camera.vendor and (not camera.products or product in camera.products)
        ]
        depth = [nodes / node for product, node in here if not camera.depth or product == camera.depth]
        if not here:
            remedy = f"{_REPLAY}; else plug it in, at USB 3 (in a container: --device /dev/bus/usb)"
            yield Line("sensors", camera.name, "missing", "none is plugged in", remedy)
        elif not depth:
            remedy = "connect its own power supply, and use a USB 3 port and cable"
            yield Line("sensors", camera.name, "broken", "plugged in, but its depth camera is not there", remedy)
        elif not all(may_open(node) for node in depth):
            remedy = (
                f"copy {camera.rules} to /etc/udev/rules.d, run `sudo udevadm control --reload`, and plug it in "
                "anew (in a container: --device /dev/bus/usb)"
            )
            yield Line("sensors", camera.name, "broken", "plugged in, but this user may not open it", remedy)
        else:
            yield Line("sensors", camera.name, "ok", f"{len(depth)} plugged in, and may be opened")


def _part(folder: Path) -> tuple[str, str, str] | None:
    """Vendor, product and device node (`BUS/DEVICE`) of one entry of sysfs; None for interfaces and what goes away."""
    try:
        vendor, product = ((folder / name).read_text("ascii").strip().lower() for name in ("idVendor", "idProduct"))
        bus, device = (int((folder / name).read_text("ascii")) for name in ("busnum", "devnum"))
    except (OSError, ValueError):
        return None
    return vendor, product, f"{bus:03d}/{device:03d}"
