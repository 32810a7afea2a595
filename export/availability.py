"""Which runners this machine can use, and why not the others. Loads vendor libraries: seconds, the first time."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from skelanon.configs.schema import RunnerName

from .errors import RunnerError
from .gpu import gpu_name
from .onnx_provider import CUDA, TENSORRT, load_provider
from .onnx_runtime import import_onnxruntime


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a runner can be used here. reason: what it would run on, or what is missing and how to get it."""

    name: RunnerName
    usable: bool
    reason: str


def available_runners() -> list[Availability]:
    """All runners that `model.runner` may name, each with its reason; none of them is an error here."""
    return [_availability(name, check) for name, check in _CHECKS.items()]


def _availability(name: RunnerName, check: Callable[[], str]) -> Availability:
    try:
        return Availability(name, True, check())
    except RunnerError as error:
        return Availability(name, False, str(error))
    except Exception as error:  # noqa: BLE001 - a vendor's library fails as it likes
        return Availability(name, False, f"its check failed ({type(error).__name__})")


def _cpu() -> str:
    return f"onnxruntime {import_onnxruntime().__version__}"


def _cuda() -> str:
    return _provider(CUDA)


def _ort_tensorrt() -> str:
    return _provider(TENSORRT)


def _provider(provider: str) -> str:
    onnxruntime = load_provider(provider)
    if find_spec("onnx") is None:
        raise RunnerError("onnx is not installed, which puts the state on the GPU: pip install 'skelanon[gpu]'")
    return f"onnxruntime {onnxruntime.__version__} on {gpu_name()}"


def _tensorrt() -> str:
    from .tensorrt_engine import import_tensorrt

    gpu = gpu_name()
    return f"TensorRT {import_tensorrt()[0].__version__} on {gpu}"


_CHECKS: Final[dict[RunnerName, Callable[[], str]]] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "ort_tensorrt": _ort_tensorrt,
    "tensorrt": _tensorrt,
}
