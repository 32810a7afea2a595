"""pykinect2's declarations of Kinect20.dll, repaired as they are imported; nothing is written where they lie.

Of pykinect2 0.1.0 (2015, the only one on PyPI) `PyKinectV2.py` is used, which declares the COM interfaces. Two of its
lines fail today, and are replaced, each where it stands in exactly these words:

- an assertion on the size of a structure that only streams of sound use, with the size on 32-bit Windows
  (Kinect/PyKinect2 #17, #23, #37, #95);
- a comparison of versions that comtypes of 2017 passed and today's refuses, meant for files that comtypes made (#88).

The class above them, `PyKinectRuntime`, is left alone: it calls `time.clock` (gone since Python 3.8) and names
`numpy.object` (gone since NumPy 1.24), does not tell the time of a frame, swallows every error, closes the event its
thread waits for, and takes 64-bit handles for 32-bit numbers.
"""

import ctypes
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any, Final

from skelanon.sensors.camera_process import CameraError
from skelanon.sensors.joints import JOINTS

from .layout import JOINT
from .problems import Problem

REPAIRS: Final = {
    b"assert sizeof(tagSTATSTG) == 72, sizeof(tagSTATSTG)": (
        b"assert sizeof(tagSTATSTG) in (72, 80), sizeof(tagSTATSTG)"
    ),
    b"from comtypes import _check_version; _check_version('')": b"",
}
"""Lines of PyKinectV2.py, and what stands in place of each."""

_MODULE: Final = "pykinect2.PyKinectV2"


class _Repaired(SourceFileLoader):
    """Neither reads nor writes compiled files: those would be of the file as it is."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        lines = (REPAIRS.get(line, line) for line in self.get_data(path).splitlines())
        code: CodeType = self.source_to_code(b"\n".join(lines), path)
        return code


def load() -> Any:
    """The module of declarations. Raises CameraError where it is missing, or is neither as known nor works."""
    if not hasattr(ctypes, "WinDLL"):
        raise CameraError(Problem.NOT_WINDOWS)
    try:
        spec = find_spec(_MODULE) if find_spec("comtypes") else None
    except ModuleNotFoundError as error:
        raise CameraError(Problem.PACKAGE_MISSING) from error
    if spec is None or spec.origin is None:
        raise CameraError(Problem.PACKAGE_MISSING)
    module = ModuleType(_MODULE)
    try:
        _Repaired(_MODULE, spec.origin).exec_module(module)
    except OSError as error:
        raise CameraError(Problem.RUNTIME_MISSING) from error
    except Exception as error:  # whatever an unknown file does
        raise CameraError(Problem.PACKAGE_UNKNOWN) from error
    if not _as_expected(module):
        raise CameraError(Problem.PACKAGE_UNKNOWN)
    return module


def _as_expected(module: Any) -> bool:
    """Whether joints are written as they are read here, and what is called here exists."""
    needed = ("COMError", "DefaultKinectSensor", "IBody", "IBodyFrame", "IBodyFrameReader", "IKinectSensor", "_Joint")
    return (
        all(hasattr(module, name) for name in needed)
        and ctypes.sizeof(module._Joint) == JOINT.itemsize
        and getattr(module, "JointType_Count", None) == JOINTS
    )
