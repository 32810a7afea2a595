"""pykinect_azure and the libraries behind it, loaded in the camera's own process.

Of pykinect_azure 0.0.4 the bindings are used, not the classes above them: these end the process on every time-out
(`VERIFY`), keep the capture of all cameras in one class attribute, wait for ever by default, and print.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from skelanon.sensors.camera_process import CameraError

from .problems import Problem

NAMES: Final = ("k4a", "k4arecord", "k4abt")


@dataclass(frozen=True, slots=True)
class Bindings:
    """The modules that declare the functions of libk4a, libk4arecord and libk4abt."""

    k4a: Any
    record: Any
    abt: Any


def load(folder: str | None) -> Bindings:
    """The bindings, with their libraries from `folder` where it has them. Raises CameraError."""
    try:
        import pykinect_azure as package
        from pykinect_azure.k4a import _k4a
        from pykinect_azure.k4abt import _k4abt
        from pykinect_azure.k4arecord import _k4arecord
        from pykinect_azure.utils import get_k4a_module_path, get_k4abt_module_path, get_k4arecord_module_path
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0] == "pykinect_azure"
        raise CameraError(Problem.PACKAGE_MISSING if missing else Problem.PACKAGE_BROKEN) from error
    except ImportError as error:
        raise CameraError(Problem.PACKAGE_BROKEN) from error
    own = _libraries_in(folder) if folder is not None else {}
    steps = (
        (Problem.K4A_MISSING, package.init_k4a, "k4a", get_k4a_module_path),
        # Not `initialize_libraries`: it replaces every "k4a" in the path, those of folders too.
        (
            Problem.K4ARECORD_MISSING,
            package.init_k4arecord,
            "k4arecord",
            lambda: get_k4arecord_module_path(get_k4a_module_path()),
        ),
        (Problem.K4ABT_MISSING, package.init_k4abt, "k4abt", get_k4abt_module_path),
    )
    for problem, initialize, name, default in steps:
        try:
            initialize(own.get(name) or default())
        except SystemExit as error:  # what it does where a library cannot be loaded, or does not exist for the platform
            raise CameraError(problem) from error
        except OSError as error:
            raise CameraError(Problem.RUNTIME_MISSING) from error
    return Bindings(_k4a, _k4arecord, _k4abt)


def _libraries_in(folder: str) -> dict[str, str]:
    pattern = "{}.dll" if os.name == "nt" else "lib{}.so"
    paths = {name: Path(folder).absolute() / pattern.format(name) for name in NAMES}
    found = {name: str(path) for name, path in paths.items() if path.is_file()}
    if not found:
        raise CameraError(Problem.LIBRARIES_EMPTY)
    return found
