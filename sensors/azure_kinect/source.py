"""Where depth images come from: a camera, or a recording of one. Used in the camera's own process only."""

import ctypes
import random
import time
from abc import ABC, abstractmethod
from typing import Any, Final

from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.camera_process import CameraError, EndOfFile

from .bindings import Bindings
from .problems import Problem

DEPTH_MODES: Final = {"nfov_binned": 1, "nfov_unbinned": 2, "wfov_binned": 3, "wfov_unbinned": 4}
"""`k4a_depth_mode_t`."""
RATES: Final = {5: 0, 15: 1, 30: 2}
"""`k4a_fps_t`."""
SUCCEEDED, FAILED, TIMEOUT = 0, 1, 2
"""`k4a_result_t`, `k4a_wait_result_t`."""
_TOO_SMALL: Final = 2  # of `k4a_buffer_result_t`
_END_OF_FILE: Final = 2  # of `k4a_stream_result_t`
_COLOR_OFF: Final = 0  # no image of a face is ever taken
ASKING_S: Final = 5.0
"""How long to look for a serial number while cameras are busy, as they are when several sensors start at once."""


class Source(ABC):
    """Delivers captures: handles that whoever took them gives back with `release`."""

    calibration: Any
    """`k4a_calibration_t`, which the tracker needs."""

    def __init__(self, bindings: Bindings) -> None:
        self._k4a = bindings.k4a

    @abstractmethod
    def start(self) -> None:
        """Begin to deliver."""

    @abstractmethod
    def next(self, timeout_ms: int) -> Any | None:
        """The next capture, or None when none came in time. Raises CameraError, EndOfFile."""

    def release(self, capture: Any) -> None:
        """Give a capture back."""
        self._k4a.k4a_capture_release(capture)

    @abstractmethod
    def close(self) -> None:
        """Stop, and let the camera or the file go."""


class Camera(Source):
    """A connected camera, its depth images only."""

    def __init__(self, bindings: Bindings, settings: AzureKinectSettings) -> None:
        super().__init__(bindings)
        k4a = self._k4a
        self._device = self._find(settings)
        self._configuration = k4a.k4a_device_configuration_t(
            color_resolution=_COLOR_OFF,
            depth_mode=DEPTH_MODES[settings.depth_mode],
            camera_fps=RATES[settings.rate_hz],
        )
        self.calibration = k4a.k4a_calibration_t()
        mode = self._configuration.depth_mode
        if k4a.k4a_device_get_calibration(self._device, mode, _COLOR_OFF, self.calibration) != SUCCEEDED:
            self.close()
            raise CameraError(Problem.NO_CALIBRATION)

    def start(self) -> None:
        if self._k4a.k4a_device_start_cameras(self._device, self._configuration) != SUCCEEDED:
            raise CameraError(Problem.CAMERA_FAILED_TO_START)

    def next(self, timeout_ms: int) -> Any | None:
        capture = self._k4a.k4a_capture_t()
        result = self._k4a.k4a_device_get_capture(self._device, capture, timeout_ms)
        if result == TIMEOUT:
            return None
        if result != SUCCEEDED:
            raise CameraError(Problem.DEVICE_LOST)
        return capture

    def close(self) -> None:
        self._k4a.k4a_device_stop_cameras(self._device)
        self._k4a.k4a_device_close(self._device)

    def _find(self, settings: AzureKinectSettings) -> Any:
        """The open handle of the camera that the settings name."""
        installed = int(self._k4a.k4a_device_get_installed_count())
        if not installed:
            raise CameraError(Problem.NO_DEVICE)
        if settings.serial is None:
            if settings.device >= installed:
                raise CameraError(Problem.NO_SUCH_DEVICE)
            device = self._open(settings.device)
            if device is None:
                raise CameraError(Problem.DEVICE_BUSY)
            return device
        return self._find_serial(installed, settings.serial)

    def _find_serial(self, installed: int, serial: str) -> Any:
        """Cameras must be opened to be asked, and who asks at the same time finds them busy: so several times."""
        give_up_s = time.monotonic() + ASKING_S
        while True:
            busy = False
            for index in range(installed):
                device = self._open(index)
                if device is None:
                    busy = True
                    continue
                if self._serial_of(device) == serial:
                    return device
                self._k4a.k4a_device_close(device)
            if not busy or time.monotonic() > give_up_s:
                raise CameraError(Problem.NO_SUCH_SERIAL)
            time.sleep(random.uniform(0.05, 0.5))  # so that two who disturb each other do not go on doing so

    def _open(self, index: int) -> Any | None:
        device = self._k4a.k4a_device_t()
        return device if self._k4a.k4a_device_open(index, device) == SUCCEEDED else None

    def _serial_of(self, device: Any) -> str | None:
        size = ctypes.c_size_t()
        if self._k4a.k4a_device_get_serialnum(device, None, size) != _TOO_SMALL:
            return None
        serial = ctypes.create_string_buffer(size.value)
        if self._k4a.k4a_device_get_serialnum(device, serial, size) != SUCCEEDED:
            return None
        return serial.value.decode("ascii", "replace")


class Playback(Source):
    """A recording made by k4arecorder."""

    def __init__(self, bindings: Bindings, path: str) -> None:
        super().__init__(bindings)
        self._record = bindings.record
        self._handle = self._record.k4a_playback_t()
        name = ctypes.create_string_buffer(path.encode("utf-8", "surrogateescape"))
        if self._record.k4a_playback_open(name, self._handle) != SUCCEEDED:
            raise CameraError(Problem.FILE_UNREADABLE)
        self.calibration = self._k4a.k4a_calibration_t()
        if self._record.k4a_playback_get_calibration(self._handle, self.calibration) != SUCCEEDED:
            self.close()
            raise CameraError(Problem.FILE_UNREADABLE)

    def start(self) -> None:
        pass

    def next(self, timeout_ms: int) -> Any | None:
        capture = self._k4a.k4a_capture_t()
        result = self._record.k4a_playback_get_next_capture(self._handle, capture)
        if result == _END_OF_FILE:
            raise EndOfFile
        if result != SUCCEEDED:
            raise CameraError(Problem.FILE_DAMAGED)
        return capture

    def close(self) -> None:
        self._record.k4a_playback_close(self._handle)


def open_source(bindings: Bindings, settings: AzureKinectSettings) -> Source:
    """The camera or the recording that the settings name, not yet started."""
    return Camera(bindings, settings) if settings.file is None else Playback(bindings, settings.file)
