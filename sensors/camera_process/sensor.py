"""The daemon's end: a sensor whose frames come from a camera's process, which is replaced when it leaks."""

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from skelanon.configs.schema import CameraSettings
from skelanon.sensors.device_clock import DeviceClock
from skelanon.sensors.errors import EndOfRecording, SensorError
from skelanon.sensors.frame import BodyFrame, Joints, Tracking
from skelanon.sensors.sensor import Sensor

from .process import CameraProcess, ProcessGone
from .records import Bodies, Kind, Record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Seen:
    """The bodies of a frame, with the device's ids; of those that share an id, the first is taken.

    joints (M, 25, 3) float32, metres, camera axes; tracking (M, 25) uint8; ids (M,) unsigned.
    """

    joints: Joints
    tracking: Tracking
    ids: NDArray[np.unsignedinteger]


class CameraSensor(Sensor):
    """Bodies from a camera's process.

    `open` returns at once; until the camera has started, no frame comes. A process that is silent for too long is
    killed. One that holds too much memory is replaced within a few seconds; that is no fault, and the next frame is a
    discontinuity, since the new process counts its bodies anew.
    """

    module: ClassVar[str]
    """What the process runs: a module that calls `serve`."""
    body: ClassVar[np.dtype[np.void]]
    """How a body crosses the pipe."""
    messages: ClassVar[Mapping[int, str]]
    """What to tell the operator, by the number of a problem."""
    slow_start: ClassVar[str] = ""
    """When starting takes long."""
    libraries: str | None = None
    """A folder whose libraries the process finds first."""
    live = True
    """Frames carry the time of capture on the device's clock; otherwise the time of their arrival counts."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._process: CameraProcess | None = None
        self._clock = DeviceClock()
        self._first = True  # no frame of this process has come yet
        self._recycling = False
        self._ended = False

    @abstractmethod
    def _seen(self, bodies: Bodies) -> Seen:
        """What the process sent, in joints of Kinect v2, metres and camera axes; without bodies that have no id."""

    def open(self) -> None:
        self.close()
        self._process = self._start()

    def read(self, timeout_ms: int) -> BodyFrame | None:
        if self._ended:
            raise EndOfRecording("the recording has been played")
        if self._process is None:
            raise SensorError("the camera is not open: call open() before read()")
        deadline_s = time.monotonic() + timeout_ms / 1000
        while True:
            try:
                record = self._process.next(deadline_s - time.monotonic())
            except ProcessGone as gone:
                self._process = self._replace(self._process, str(gone))
                continue
            if record is None:
                self._check_signs_of_life(self._process)
                return None
            if record.kind is Kind.FRAME:
                return self._frame(record)
            self._heed(record, self._process)

    def close(self) -> None:
        process, self._process = self._process, None
        self._ended = False
        if process is not None:
            process.stop()

    def _start(self) -> CameraProcess:
        self._clock = DeviceClock()
        self._first = True
        self._recycling = False
        try:
            return CameraProcess(self.module, self._settings, self.body, self.libraries)
        except OSError as error:
            raise SensorError(f"the camera's process cannot be started: {error.strerror}") from None

    def _replace(self, gone: CameraProcess, how: str) -> CameraProcess:
        if not self._recycling:
            raise SensorError(f"the camera's process {how}")
        gone.stop()
        return self._start()

    def _heed(self, record: Record, process: CameraProcess) -> None:
        """Records that are no frames."""
        if record.kind is Kind.RECYCLE and process.ready:
            log.warning("a camera's process holds more than `memory_limit_mb` and is being replaced")
            self._recycling = True
            return
        if record.kind is Kind.RECYCLE:
            raise SensorError("the camera's process holds more than `memory_limit_mb` from the start: allow more")
        if record.kind is Kind.ENDED:
            self._ended = True
            raise EndOfRecording("the recording has been played")
        raise self._error(record.detail)

    def _error(self, problem: int) -> SensorError:
        """What a problem is for the daemon; 0 is none of those that are known."""
        return SensorError(self.messages.get(problem, "the camera's process failed unexpectedly"))

    def _check_signs_of_life(self, process: CameraProcess) -> None:
        settings = self._settings
        starting = not process.ready
        if time.monotonic() - process.alive_s <= (settings.start_timeout_s if starting else settings.hang_timeout_s):
            return
        process.kill()
        if self._recycling:  # it hangs on its way out
            return
        if starting:
            raise SensorError(
                f"the camera was not ready within `start_timeout_s` ({settings.start_timeout_s:g} s): allow more "
                f"time{self.slow_start}, or plug it in again"
            )
        raise SensorError(
            f"the camera's process gave no sign of life for {settings.hang_timeout_s:g} s (`hang_timeout_s`): killed"
        )

    def _frame(self, record: Record) -> BodyFrame:
        seen = self._seen(record.bodies)
        first = np.sort(np.unique(seen.ids, return_index=True)[1])
        now_ns, jumped = time.time_ns(), False
        if self.live:
            captured_ns, jumped = self._clock.captured_ns(record.device_usec, record.arrived_ns)
            now_ns -= time.perf_counter_ns() - captured_ns
        discontinuity, self._first = self._first or jumped, False
        ids = tuple(seen.ids[first].tolist())
        return BodyFrame(max(now_ns, 0), seen.joints[first], seen.tracking[first], ids, discontinuity)
