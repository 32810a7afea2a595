"""The process that a camera with its vendor's software has of its own, from both ends; what the camera is stays open.

daemon: CameraSensor -- CameraProcess ==(pipes)== child: serve -> stream -> Camera
"""

from .camera import Camera, CameraError, EndOfFile
from .child import WAIT_MS, serve
from .process import CameraProcess
from .records import Bodies, Kind, Record
from .sensor import CameraSensor, Seen

__all__ = [
    "WAIT_MS",
    "Bodies",
    "Camera",
    "CameraError",
    "CameraProcess",
    "CameraSensor",
    "EndOfFile",
    "Kind",
    "Record",
    "Seen",
    "serve",
]
