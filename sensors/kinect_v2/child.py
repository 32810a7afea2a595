"""A Kinect's own process: `python -m skelanon.sensors.kinect_v2.child`."""

import ctypes
import threading
import time
from contextlib import ExitStack
from typing import Any, Final

import numpy as np

from skelanon.configs.schema import KinectV2Settings
from skelanon.sensors.camera_process import WAIT_MS, Bodies, Camera, CameraError, Kind, Record, serve
from skelanon.sensors.joints import JOINTS

from .bindings import load
from .layout import BODY, BODY_COUNT
from .problems import Problem

POLL_S: Final = 0.004
"""Frames are asked for, not waited for: pykinect2 declares the handles of events with 32 bits."""
_E_PENDING: Final = 0x8000000A - (1 << 32)  # HRESULT: no new frame


class BodyReader(Camera):
    """Frames of bodies of an open Kinect."""

    def __init__(self, kinect: Any, sensor: Any, reader: Any) -> None:
        self._kinect, self._sensor, self._reader = kinect, sensor, reader
        memory = bytearray(BODY_COUNT * BODY.itemsize)
        self._bodies: Bodies = np.frombuffer(memory, BODY)
        joints_start = BODY.fields["joints"][1] if BODY.fields else 0
        self._joints = [  # of the same memory: the Kinect writes where the record is made from
            (kinect._Joint * JOINTS).from_buffer(memory, body * BODY.itemsize + joints_start)
            for body in range(BODY_COUNT)
        ]

    @property
    def silence(self) -> Problem:
        return Problem.NO_FRAMES if self._sensor.IsAvailable else Problem.NO_DEVICE

    def next(self) -> Record | None:
        deadline_s = time.monotonic() + WAIT_MS / 1000
        try:
            while (frame := self._latest()) is None:
                if time.monotonic() > deadline_s:
                    return None
                time.sleep(POLL_S)
            return self._record(frame, time.perf_counter_ns())
        except self._kinect.COMError as error:
            raise CameraError(Problem.FAILED) from error

    def _latest(self) -> Any | None:
        try:
            return self._reader.AcquireLatestFrame()
        except self._kinect.COMError as error:
            if error.hresult != _E_PENDING:
                raise
            return None

    def _record(self, frame: Any, arrived_ns: int) -> Record:
        places = (ctypes.POINTER(self._kinect.IBody) * BODY_COUNT)()
        frame.GetAndRefreshBodyData(BODY_COUNT, places)
        count = 0
        for place in range(BODY_COUNT):
            # Taken out once, and no place used twice: comtypes releases what is taken out as if it had been counted.
            body = places[place]
            if body and body.IsTracked:
                self._bodies["id"][count] = body.TrackingId
                body.GetJoints(JOINTS, self._joints[count])
                count += 1
        device_usec = max(frame.RelativeTime // 10, 0)  # of 100 ns
        return Record(Kind.FRAME, 0, device_usec, arrived_ns, self._bodies[:count])


def open_camera(settings: KinectV2Settings, stopping: threading.Event, opened: ExitStack) -> Camera:
    """The Kinect, opened; whether there is one shows when frames come, or do not."""
    kinect = load()
    sensor = ctypes.POINTER(kinect.IKinectSensor)()
    try:
        kinect.DefaultKinectSensor._GetDefaultKinectSensorProto(ctypes.byref(sensor))
        sensor.Open()
        opened.callback(sensor.Close)
        reader = sensor.BodyFrameSource.OpenReader()
    except (kinect.COMError, OSError) as error:
        raise CameraError(Problem.FAILED_TO_START) from error
    return BodyReader(kinect, sensor, reader)


if __name__ == "__main__":
    serve(KinectV2Settings, open_camera)
