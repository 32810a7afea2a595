"""Runs a bundle in ONNX Runtime's TensorRT provider, whose engines are kept from start to start."""

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .bundle import Bundle
from .device_runner import DeviceRunner
from .errors import RunnerError
from .gpu import gpu_name
from .onnx_provider import CUDA, TENSORRT, load_provider
from .ort_cuda import cuda_options
from .ort_device import OrtDevice, Provider
from .resident import Shapes, resident_model, shape_ranges

log = logging.getLogger(__name__)


def onnx_runtime_tensorrt(bundle: Bundle, buckets: Sequence[int], cache: Path, *, tf32: bool = False) -> DeviceRunner:
    """A bundle in ONNX Runtime's TensorRT provider; the first start builds its engines, for seconds to minutes.

    Raises RunnerError: no GPU, a library missing, a graph it cannot run.
    """
    onnxruntime = load_provider(TENSORRT)
    if not tf32:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # the provider has no option for it
    folder = engine_folder(bundle, cache, onnxruntime.__version__, tf32=tf32)
    model, providers = resident_model(bundle), _providers(bundle, buckets, folder, tf32)
    if not ready(folder):
        log.info("ONNX Runtime builds a TensorRT engine; this takes seconds to minutes")
        return _start(onnxruntime, bundle, model, providers, buckets, folder)
    try:
        return _start(onnxruntime, bundle, model, providers, buckets, folder)
    except RunnerError as error:
        log.warning("the cached TensorRT engine is refused (%s): building it anew, for seconds to minutes", error)
        shutil.rmtree(folder, ignore_errors=True)
        return _start(onnxruntime, bundle, model, providers, buckets, folder)


def engine_folder(bundle: Bundle, cache: Path, onnxruntime: str, *, tf32: bool) -> Path:
    """A folder for the engines of this model, these versions and this GPU: the provider does not compare them."""
    tensorrt = "unknown"
    with suppress(PackageNotFoundError):
        tensorrt = version("tensorrt")
    key = "\n".join((bundle.sha256, onnxruntime, tensorrt, gpu_name(), str(tf32)))
    return cache / f"ort-tensorrt-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def ready(folder: Path) -> bool:
    """Whether engines have been built there."""
    return any(folder.glob("*.engine"))


def _start(
    onnxruntime: Any, bundle: Bundle, model: bytes, providers: list[Provider], buckets: Sequence[int], folder: Path
) -> DeviceRunner:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return DeviceRunner(bundle, OrtDevice(onnxruntime, model, providers, memory="cuda"), buckets)


def _providers(bundle: Bundle, buckets: Sequence[int], folder: Path, tf32: bool) -> list[Provider]:
    least, usual, most = shape_ranges(bundle.manifest, buckets)
    options = {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_profile_min_shapes": _listed(least),
        "trt_profile_opt_shapes": _listed(usual),
        "trt_profile_max_shapes": _listed(most),
    }
    return [(TENSORRT, options), (CUDA, cuda_options(tf32=tf32, graphs=False))]


def _listed(shapes: Shapes) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
