"""Builds TensorRT engines and keeps them: an engine fits one model, one version of TensorRT and one GPU.

After the Python API as documented for TensorRT 10.x and 11.x. Networks are strongly typed in both: the types are those
of the bundle, so that half precision comes from a bundle exported in half precision, which keeps the preprocessing in
float32; TensorRT's own choice, which 11.x has given up, would round the place of a body to millimetres.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from .bundle import Bundle
from .cache import keep
from .errors import RunnerError
from .gpu import gpu_name
from .resident import resident_model, shape_ranges

log = logging.getLogger(__name__)

INSTALL: Final = "pip install 'skelanon[tensorrt]'"
OLDEST: Final = 10
WORKSPACE_BYTES: Final = 1 << 30
MAGIC: Final = b"skelanon engine 1\n"


class EngineKey(Struct, frozen=True):
    """What an engine was built for; all of it must be the same again."""

    model: str
    """sha256 of the bundle."""
    tensorrt: str
    gpu: str
    precision: str
    batches: tuple[int, ...]


class _Header(Struct, frozen=True):
    key: EngineKey
    sha256: str
    """Of the engine that follows."""


def import_tensorrt() -> tuple[Any, Any]:
    """tensorrt and cuda.bindings.runtime. Raises RunnerError with the install line where one is missing or too old."""
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # OSError: the package is there, its libraries are not
        raise RunnerError(f"tensorrt is not installed: {INSTALL}") from error
    if int(tensorrt.__version__.partition(".")[0]) < OLDEST:
        raise RunnerError(f"TensorRT {tensorrt.__version__} is too old, {OLDEST} or newer is needed: {INSTALL}")
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        raise RunnerError(f"cuda-python is not installed: {INSTALL}") from error
    return tensorrt, runtime


def load_engine(bundle: Bundle, buckets: Sequence[int], cache: Path, *, tf32: bool = False) -> Any:
    """The engine of a bundle on this GPU: from the cache, or built, for seconds to minutes, and put there.

    What does not fit (another version or GPU, a damaged file) is said and built anew. Raises RunnerError.
    """
    trt, _ = import_tensorrt()
    key = engine_key(bundle, buckets, tf32=tf32)
    path = engine_path(key, cache)
    runtime = trt.Runtime(_logger(trt))
    plan = _cached(path, key)
    engine = runtime.deserialize_cuda_engine(plan) if plan is not None else None
    if engine is None:
        if plan is not None:
            log.warning("TensorRT refuses the cached engine: building it anew, for seconds to minutes")
        plan = _build(trt, bundle, buckets, cache, tf32=tf32)
        keep(path, MAGIC + msgspec.json.encode(_Header(key, hashlib.sha256(plan).hexdigest())) + b"\n" + plan)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise RunnerError("TensorRT refuses the engine that it has just built: is another process using the GPU up?")
    return engine


def engine_key(bundle: Bundle, buckets: Sequence[int], *, tf32: bool) -> EngineKey:
    """The key of a bundle's engine on this machine. Raises RunnerError where there is no TensorRT or no GPU."""
    trt, _ = import_tensorrt()
    return EngineKey(bundle.sha256, trt.__version__, gpu_name(), "tf32" if tf32 else "exact", tuple(buckets))


def engine_path(key: EngineKey, cache: Path) -> Path:
    """One file for each model, GPU and precision: a new version of TensorRT replaces what it cannot read."""
    name = "\n".join((key.model, key.gpu, key.precision))
    return cache / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.engine"


def _cached(path: Path, key: EngineKey) -> bytes | None:
    """The cached engine; None where there is none, or where it does not fit, which is said."""
    try:
        content = path.read_bytes()
    except OSError:
        log.info("TensorRT builds an engine for this model and GPU; this takes seconds to minutes")
        return None
    header, _, plan = content.removeprefix(MAGIC).partition(b"\n")
    try:
        found = msgspec.json.decode(header, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if found is None or hashlib.sha256(plan).hexdigest() != found.sha256:
        log.warning("the cached TensorRT engine is damaged: building it anew, for seconds to minutes")
        return None
    for what in EngineKey.__struct_fields__:
        before, now = getattr(found.key, what), getattr(key, what)
        if before != now:
            log.warning(
                "the cached engine was built for %s %s, this is %s: building it anew, for seconds to minutes",
                what, before, now,
            )  # fmt: skip
            return None
    return plan


def _build(trt: Any, bundle: Bundle, buckets: Sequence[int], cache: Path, *, tf32: bool) -> bytes:
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(resident_model(bundle)):
        raise RunnerError(f"TensorRT cannot read the bundle's graph: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # it is set by default
    profile = builder.create_optimization_profile()
    least, usual, most = shape_ranges(bundle.manifest, buckets)
    for name in least:
        profile.set_shape(name, least[name], usual[name], most[name])
    config.add_optimization_profile(profile)
    timings = cache / "tensorrt.timings"
    _use_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RunnerError("TensorRT cannot build an engine for the bundle's graph; set `model.runner` to another one")
    keep(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _use_timings(config: Any, path: Path) -> None:
    """Reuse what earlier builds have timed; a file of another version or GPU is refused, and replaced later."""
    known = path.read_bytes() if path.is_file() else b""
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _logger(trt: Any) -> Any:
    return trt.Logger(trt.Logger.ERROR)
