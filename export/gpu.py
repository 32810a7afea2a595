"""The NVIDIA GPU as its driver names it, asked without any CUDA package."""

import ctypes
import functools
import sys
from typing import Any

from .errors import RunnerError


@functools.cache
def gpu_name() -> str:
    """Name of the first GPU that this process may use. Raises RunnerError: no driver, or no GPU."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise RunnerError(f"no NVIDIA driver ({library} cannot be loaded): install the driver of the GPU") from error
    count = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    _call(driver, "cuInit", ctypes.c_uint(0))
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise RunnerError("the NVIDIA driver shows no GPU: see `nvidia-smi` and CUDA_VISIBLE_DEVICES")
    _call(driver, "cuDeviceGetName", name, ctypes.c_int(len(name)), ctypes.c_int(0))
    return name.value.decode("ascii", "replace")


def _call(driver: Any, function: str, *arguments: Any) -> None:
    """Call a function of the CUDA driver API, which returns 0 when all is well."""
    code = getattr(driver, function)(*arguments)
    if code:
        raise RunnerError(f"the NVIDIA driver fails ({function} returned {code}): see `nvidia-smi`")
