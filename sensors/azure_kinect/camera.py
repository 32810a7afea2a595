"""The sensor: frames of bodies from a camera's process, which is replaced when it leaks."""

import logging
import time

import numpy as np

from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.azure_joints import to_kinect25, tracking_of
from skelanon.sensors.device_clock import DeviceClock
from skelanon.sensors.errors import EndOfRecording, RecordingError, SensorError
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.sensor import Sensor

from .problems import MESSAGES, Problem
from .process import CameraProcess, ProcessGone
from .records import INVALID_ID, Bodies, Kind, Record

log = logging.getLogger(__name__)


class AzureKinect(Sensor):
    """Bodies seen by an Azure Kinect or an Orbbec Femto, live or recorded.

    `open` returns at once; until camera and tracker have started, no frame comes. A process that is silent for too long
    is killed. One that holds too much memory is replaced within a few seconds; that is no fault, and the next frame is
    a discontinuity, since the new tracker counts its bodies anew.
    """

    def __init__(self, settings: AzureKinectSettings) -> None:
        self.lossless = settings.fast
        self.period_s = 1 / settings.rate_hz
        self._settings = settings
        self._process: CameraProcess | None = None
        self._clock = DeviceClock()
        self._first = True  # no frame of this process has come yet
        self._recycling = False
        self._ended = False

    def open(self) -> None:
        self.close()
        self._ended = False
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
            self._heed(record)

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
            return CameraProcess(self._settings)
        except OSError as error:
            raise SensorError(f"the camera's process cannot be started: {error.strerror}") from None

    def _replace(self, gone: CameraProcess, how: str) -> CameraProcess:
        if not self._recycling:
            raise SensorError(f"the camera's process {how}")
        gone.stop()
        return self._start()

    def _heed(self, record: Record) -> None:
        """Records that are no frames."""
        if record.kind is Kind.RECYCLE:
            log.warning("a camera's process holds more than `memory_limit_mb` and is being replaced")
            self._recycling = True
            return
        self._ended = record.kind is Kind.ENDED or record.detail == Problem.FILE_DAMAGED
        if record.kind is Kind.ENDED:
            raise EndOfRecording("the recording has been played")
        known = record.detail if record.detail in Problem.__members__.values() else Problem.UNEXPECTED
        message = MESSAGES[Problem(known)]
        raise RecordingError(message) if self._ended else SensorError(message)

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
                f"camera and tracker were not ready within `start_timeout_s` ({settings.start_timeout_s:g} s): allow "
                "more time (`tensorrt` needs minutes for the first start), or plug the camera in again"
            )
        raise SensorError(
            f"the camera's process gave no sign of life for {settings.hang_timeout_s:g} s (`hang_timeout_s`): killed"
        )

    def _frame(self, record: Record) -> BodyFrame:
        bodies = _followed(record.bodies)
        now_ns, jumped = time.time_ns(), False
        if self._settings.file is None:
            captured_ns, jumped = self._clock.captured_ns(record.device_usec, record.arrived_ns)
            now_ns -= time.monotonic_ns() - captured_ns
        discontinuity, self._first = self._first or jumped, False
        return BodyFrame(
            max(now_ns, 0),
            to_kinect25(bodies["joints"]["position"]),
            tracking_of(bodies["joints"]["confidence"]),
            tuple(bodies["id"].tolist()),
            discontinuity,
        )


def _followed(bodies: Bodies) -> Bodies:
    """Those bodies that have an id of their own; of two with the same, the first."""
    ids = bodies["id"]
    first = np.zeros(len(ids), np.bool_)
    first[np.unique(ids, return_index=True)[1]] = True
    followed: Bodies = bodies[first & (ids != INVALID_ID)]
    return followed
