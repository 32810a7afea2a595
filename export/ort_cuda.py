"""Runs a bundle in ONNX Runtime on an NVIDIA GPU: bound memory, CUDA graphs, states that stay there."""

import logging
from collections.abc import Sequence
from typing import Any

from .bundle import Bundle
from .device_runner import DeviceRunner
from .errors import RunnerError
from .onnx_provider import CUDA, load_provider
from .ort_device import OrtDevice
from .resident import resident_model

log = logging.getLogger(__name__)


def onnx_runtime_cuda(bundle: Bundle, buckets: Sequence[int], *, tf32: bool = False) -> DeviceRunner:
    """A bundle in ONNX Runtime's CUDA provider.

    Raises RunnerError: no GPU, a library missing, a graph it cannot run.
    """
    onnxruntime = load_provider(CUDA)
    model = resident_model(bundle)
    try:
        return DeviceRunner(bundle, _device(onnxruntime, model, tf32, graphs=True), buckets)
    except RunnerError as error:  # it refuses to record a graph of which a node must run on the CPU
        if error.__cause__ is None:
            raise
        log.warning("no CUDA graphs for this model (%s): each call launches its kernels one by one", error)
        return DeviceRunner(bundle, _device(onnxruntime, model, tf32, graphs=False), buckets)


def cuda_options(*, tf32: bool, graphs: bool) -> dict[str, str]:
    """The provider's options: memory as asked for and no more, products in full float32 unless `tf32`."""
    return {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": str(int(tf32)),
        "enable_cuda_graph": str(int(graphs)),
    }


def _device(onnxruntime: Any, model: bytes, tf32: bool, *, graphs: bool) -> OrtDevice:
    providers = [(CUDA, cuda_options(tf32=tf32, graphs=graphs))]
    return OrtDevice(onnxruntime, model, providers, memory="cuda", graphs=graphs)
