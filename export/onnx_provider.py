"""Whether a provider of ONNX Runtime can be loaded; where it cannot, why: ONNX Runtime itself falls back in silence."""

import ctypes
import sys
from pathlib import Path
from typing import Any, Final

from .errors import RunnerError
from .gpu import gpu_name
from .onnx_runtime import import_onnxruntime

CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
_STEMS: Final = {CUDA: "cuda", TENSORRT: "tensorrt"}


def load_provider(provider: str) -> Any:
    """onnxruntime, with the libraries of this provider loaded.

    Raises RunnerError: not built with it, no GPU, or a library is missing, which the message names.
    """
    onnxruntime = import_onnxruntime()
    if provider not in onnxruntime.get_available_providers():
        raise RunnerError(
            f"this onnxruntime is built without {provider}: pip uninstall onnxruntime, pip install 'skelanon[gpu]'"
        )
    gpu_name()
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on: takes CUDA from the packages that pip has installed
        onnxruntime.preload_dlls(directory="")
    missing = _load_error(onnxruntime, provider)
    if missing is not None:
        raise RunnerError(f"{provider} cannot be loaded, {missing}: install the library, in the version it asks for")
    return onnxruntime


def why_absent(onnxruntime: Any, provider: str) -> str:
    """Why a session that was asked for a provider has none of it, as far as can be told."""
    missing = _load_error(onnxruntime, provider)
    if missing is not None:
        return missing
    try:
        return f"its library loads and the driver shows {gpu_name()}; is the driver too old for this CUDA?"
    except RunnerError as error:
        return str(error)


def _load_error(onnxruntime: Any, provider: str) -> str | None:
    """What the system's loader says of a provider's library; None where it loads, or is linked in."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    for part in ("shared", _STEMS[provider]):  # the second needs symbols of the first
        path = folder / pattern.format(part)
        if not path.is_file():
            continue
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return str(error).replace(str(folder), "").lstrip("/\\")  # without where it lies: that may name a person
    return None
