"""Makes the runner that a name of `model.runner` stands for."""

from pathlib import Path

from skelanon.configs.schema import ModelSettings, RunnerName

from .bundle import Bundle
from .cache import cache_folder
from .onnx_runtime import import_onnxruntime
from .ort_cpu import OnnxRuntimeCpu
from .ort_cuda import onnx_runtime_cuda
from .ort_tensorrt import engine_folder, onnx_runtime_tensorrt, ready
from .runner import RowRunner
from .tensorrt_device import tensorrt_runner
from .tensorrt_engine import engine_key, engine_path, load_engine


def make_runner(name: RunnerName, bundle: Bundle, settings: ModelSettings) -> RowRunner:
    """A runner, warmed up. Raises RunnerError or BundleError."""
    buckets, tf32 = settings.buckets, settings.precision == "tf32"
    if name == "cpu":
        return OnnxRuntimeCpu(bundle, threads=settings.threads)
    if name == "cuda":
        return onnx_runtime_cuda(bundle, buckets, tf32=tf32)
    make = tensorrt_runner if name == "tensorrt" else onnx_runtime_tensorrt
    return make(bundle, buckets, cache_folder(settings.cache), tf32=tf32)


def starts_soon(name: RunnerName, bundle: Bundle, settings: ModelSettings) -> bool:
    """Whether a usable runner starts without building an engine first."""
    if name in ("cpu", "cuda"):
        return True
    tf32 = settings.precision == "tf32"
    cache: Path = cache_folder(settings.cache)
    if name == "tensorrt":
        return engine_path(engine_key(bundle, settings.buckets, tf32=tf32), cache).is_file()
    return ready(engine_folder(bundle, cache, import_onnxruntime().__version__, tf32=tf32))


def build_engine(bundle: Bundle, settings: ModelSettings | None = None) -> Path:
    """Have TensorRT's engine for a bundle in the cache, as `runner: tensorrt` looks for it. Raises RunnerError."""
    settings = settings or ModelSettings()
    cache, tf32 = cache_folder(settings.cache), settings.precision == "tf32"
    load_engine(bundle, settings.buckets, cache, tf32=tf32)
    return engine_path(engine_key(bundle, settings.buckets, tf32=tf32), cache)
