"""Reading a camera that takes its time to start."""

import time
from typing import Final

from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.sensor import Sensor

LONG_S: Final = 60.0
"""Only a failing test waits so long."""


def read(sensor: Sensor, count: int = 1) -> list[BodyFrame]:
    """The next frames, however long the camera needs to start."""
    frames: list[BodyFrame] = []
    deadline = time.monotonic() + LONG_S
    while len(frames) < count and time.monotonic() < deadline:
        if (frame := sensor.read(timeout_ms=100)) is not None:
            frames.append(frame)
    assert len(frames) == count
    return frames
