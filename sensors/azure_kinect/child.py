"""A camera's own process: `python -m skelanon.sensors.azure_kinect.child`."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.camera_process import WAIT_MS, Camera, Kind, Record, serve

from .bindings import load
from .problems import Problem
from .source import Source, open_source
from .tracker import Tracker

LONGEST_GAP_S: Final = 0.5
"""Between two frames of a recording: a longer one is a hole in it, or a jump of its clock."""


class Pace:
    """Holds the frames of a recording until it is their time."""

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._monotonic, self._sleep = monotonic, sleep
        self._start_s: float | None = None  # host time minus device time

    def wait(self, device_usec: int) -> None:
        """Sleep until the frame is due; one that is far too early or late starts a new beat."""
        device_s, now_s = device_usec / 1e6, self._monotonic()
        if self._start_s is None or abs(self._start_s + device_s - now_s) > LONGEST_GAP_S:
            self._start_s = now_s - device_s
        if (ahead_s := self._start_s + device_s - now_s) > 0:
            self._sleep(ahead_s)


class TrackedCamera(Camera):
    """Images into the tracker, one after the other, and what it finds out of it."""

    def __init__(self, source: Source, tracker: Tracker, pace: Pace | None) -> None:
        self._source, self._tracker, self._pace = source, tracker, pace
        self._in_tracker_ns: int | None = None  # arrival of the image that the tracker holds

    @property
    def silence(self) -> Problem:
        return Problem.NO_IMAGES if self._in_tracker_ns is None else Problem.NO_RESULTS

    def next(self) -> Record | None:
        """One image, or one more wait for what the tracker makes of it."""
        if self._in_tracker_ns is None:
            self._feed()
        if self._in_tracker_ns is None:
            return None
        result = self._tracker.pop(WAIT_MS)
        if result is None:
            return None
        device_usec, bodies = result
        if self._pace is not None:
            self._pace.wait(device_usec)
        arrived_ns, self._in_tracker_ns = self._in_tracker_ns, None
        return Record(Kind.FRAME, 0, device_usec, arrived_ns, bodies)

    def _feed(self) -> None:
        capture = self._source.next(WAIT_MS)
        if capture is None:
            return
        arrived_ns = time.perf_counter_ns()
        try:
            if self._tracker.enqueue(capture, WAIT_MS):
                self._in_tracker_ns = arrived_ns
        finally:
            self._source.release(capture)


def open_camera(settings: AzureKinectSettings, stopping: threading.Event, opened: ExitStack) -> Camera:
    """The camera or the recording that the settings name, started, and its tracker."""
    bindings = load(settings.libraries)
    source = open_source(bindings, settings)
    opened.callback(source.close)
    tracker = Tracker(bindings, source.calibration, settings)
    opened.callback(tracker.close)
    source.start()
    paced = settings.file is not None and not settings.fast
    return TrackedCamera(source, tracker, Pace(time.monotonic, stopping.wait) if paced else None)


if __name__ == "__main__":
    serve(AzureKinectSettings, open_camera)
