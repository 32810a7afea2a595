"""Sources of raw frames: cameras, recordings and a made-up population, behind one interface."""

from .errors import EndOfRecording, Interruption, LinkError, RecordingError, SensorError
from .factory import create_sensor
from .frame import BodyFrame, no_bodies
from .joints import BONES, INDEX, JOINT_NAMES, JOINTS, LAYOUT, PARENTS, ROOT
from .sensor import Sensor

__all__ = [
    "BONES",
    "BodyFrame",
    "EndOfRecording",
    "INDEX",
    "Interruption",
    "JOINTS",
    "JOINT_NAMES",
    "LAYOUT",
    "LinkError",
    "PARENTS",
    "ROOT",
    "RecordingError",
    "Sensor",
    "SensorError",
    "create_sensor",
    "no_bodies",
]
