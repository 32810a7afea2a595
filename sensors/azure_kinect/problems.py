"""What can go wrong with a camera, and what to do about it. Numbers cross between the processes, never words."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Problem(IntEnum):
    """Why the camera's process gave up."""

    PACKAGE_MISSING = 1
    PACKAGE_BROKEN = 2
    LIBRARIES_EMPTY = 3
    K4A_MISSING = 4
    K4ARECORD_MISSING = 5
    K4ABT_MISSING = 6
    RUNTIME_MISSING = 7
    NO_DEVICE = 8
    NO_SUCH_DEVICE = 9
    NO_SUCH_SERIAL = 10
    DEVICE_BUSY = 11
    NO_CALIBRATION = 12
    TRACKER_FAILED_TO_START = 13
    CAMERA_FAILED_TO_START = 14
    DEVICE_LOST = 15
    NO_IMAGES = 16
    NO_RESULTS = 17
    TRACKER_FAILED = 18
    FILE_UNREADABLE = 19
    FILE_DAMAGED = 20


_SENSOR_SDK = "Azure Kinect Sensor SDK 1.4 (packages libk4a1.4 and libk4a1.4-dev)"
_WRAPPER = "for an Orbbec camera, name the folder of its K4A wrapper in `libraries`"
_TRACKING_SDK = "Azure Kinect Body Tracking SDK 1.1 (packages libk4abt1.1 and libk4abt1.1-dev; x86-64 only)"

_CABLES = "check its USB 3 cable and its power supply"

MESSAGES: Final[Mapping[int, str]] = {
    Problem.PACKAGE_MISSING: "pykinect_azure is not installed: pip install 'skelanon[azure]'",
    Problem.PACKAGE_BROKEN: "pykinect_azure cannot be imported: `python -c 'import pykinect_azure'` shows why "
    "(its OpenCV needs: apt install libgl1 libglib2.0-0)",
    Problem.LIBRARIES_EMPTY: "the folder in `libraries` has none of libk4a, libk4arecord, libk4abt: name one that has",
    Problem.K4A_MISSING: f"libk4a cannot be loaded: install the {_SENSOR_SDK}; {_WRAPPER}",
    Problem.K4ARECORD_MISSING: f"libk4arecord cannot be loaded: install the {_SENSOR_SDK}; {_WRAPPER}",
    Problem.K4ABT_MISSING: f"libk4abt cannot be loaded: install the {_TRACKING_SDK}",
    Problem.RUNTIME_MISSING: "the body tracker's ONNX Runtime (libonnxruntime.so.1.10.0) cannot be loaded: it comes "
    f"with the {_TRACKING_SDK}; leave it in the same folder as libk4abt",
    Problem.NO_DEVICE: f"no camera is connected: {_CABLES}",
    Problem.NO_SUCH_DEVICE: "fewer cameras are connected than `device` counts: count from 0, or give `serial`",
    Problem.NO_SUCH_SERIAL: "no connected camera that is free has the `serial` given: check its label and its cable",
    Problem.DEVICE_BUSY: "the camera cannot be opened: end other programs that use it; on Linux, add its udev rules",
    Problem.NO_CALIBRATION: "the camera's calibration cannot be read: plug it in again",
    Problem.TRACKER_FAILED_TO_START: "the body tracker does not start: check `processing`, `gpu`, `tracker_model` and "
    "the GPU's driver",
    Problem.CAMERA_FAILED_TO_START: "the camera does not start: give it a USB 3 port of its own; on Linux, its depth "
    "engine needs an X display (`DISPLAY`) and OpenGL 4.4",
    Problem.DEVICE_LOST: f"the camera was lost: {_CABLES}",
    Problem.NO_IMAGES: f"the camera has sent no usable image for `frame_timeout_s`: {_CABLES}",
    Problem.NO_RESULTS: "the body tracker has given no result for `frame_timeout_s`: choose a faster `processing`, or "
    "allow more time",
    Problem.TRACKER_FAILED: "the body tracker failed; it will be started again",
    Problem.FILE_UNREADABLE: "`file` cannot be played: name a recording (.mkv) with a depth track",
    Problem.FILE_DAMAGED: "the recording in `file` is damaged; it was played up to there",
}
