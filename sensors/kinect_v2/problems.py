"""What can go wrong with a Kinect v2, and what to do about it. Numbers cross between the processes, never words."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Problem(IntEnum):
    """Why the Kinect's process gave up."""

    NOT_WINDOWS = 1
    PACKAGE_MISSING = 2
    PACKAGE_UNKNOWN = 3
    RUNTIME_MISSING = 4
    FAILED_TO_START = 5
    NO_DEVICE = 6
    NO_FRAMES = 7
    FAILED = 8


_INSTALL: Final = "pip install 'skelanon[kinect-v2]'"

MESSAGES: Final[Mapping[int, str]] = {
    Problem.NOT_WINDOWS: "Kinect v2 tracks bodies on Windows only: connect it to a Windows machine, and read that as a "
    "sensor of kind `remote`",
    Problem.PACKAGE_MISSING: f"pykinect2 or comtypes is not installed: {_INSTALL}",
    Problem.PACKAGE_UNKNOWN: "the pykinect2 that is installed is not 0.1.0, or does not work with this comtypes: "
    f"remove it, and {_INSTALL}",
    Problem.RUNTIME_MISSING: "Kinect20.dll cannot be loaded: install the Kinect for Windows Runtime 2.0",
    Problem.FAILED_TO_START: "the Kinect cannot be opened: check that the service `KinectMonitor` runs",
    Problem.NO_DEVICE: "no Kinect v2 answers: check its power supply and its USB 3 port, and that Windows lets desktop "
    "apps use the camera (Settings, Privacy)",
    Problem.NO_FRAMES: "the Kinect has sent no bodies, and no empty frame, for `frame_timeout_s`: plug it in again",
    Problem.FAILED: "the Kinect failed; it will be opened again",
}
