"""An engine of TensorRT on the memory of a GPU: the device under `DeviceRunner`, by the API of 10.x and 11.x."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .device import Array, Device
from .device_runner import DeviceRunner
from .errors import RunnerError
from .gpu import gpu_name
from .tensorrt_engine import import_tensorrt, load_engine


def tensorrt_runner(bundle: Bundle, buckets: Sequence[int], cache: Path, *, tf32: bool = False) -> DeviceRunner:
    """A bundle in TensorRT itself. Raises RunnerError: not installed, no GPU, a graph it cannot run."""
    trt, cuda = import_tensorrt()
    engine = load_engine(bundle, buckets, cache, tf32=tf32)
    return DeviceRunner(bundle, TensorRTDevice(engine, cuda, f"TensorRT {trt.__version__} on {gpu_name()}"), buckets)


@dataclass(frozen=True, slots=True)
class _Memory:
    """Some memory of the GPU."""

    address: int
    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    nbytes: int


class TensorRTDevice(Device):
    """One execution context on one stream; cuda is `cuda.bindings.runtime`."""

    def __init__(self, engine: Any, cuda: Any, name: str) -> None:
        self.name = name
        self._cuda = cuda
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RunnerError(f"{name} has no memory for another engine")
        self._stream = self._call("cudaStreamCreate")
        self._addresses: list[int] = []

    def allocate(self, values: Array) -> _Memory:
        memory = _Memory(self._call("cudaMalloc", max(1, values.nbytes)), values.shape, values.dtype, values.nbytes)
        self._addresses.append(memory.address)
        self.upload(memory, values)
        return memory

    def upload(self, buffer: _Memory, values: Array) -> None:
        whole: Any = np.ascontiguousarray(values)
        self._copy(buffer.address, whole.ctypes.data, buffer.nbytes, self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, buffer: _Memory) -> Array:
        values: Any = np.empty(buffer.shape, buffer.dtype)
        self._copy(values.ctypes.data, buffer.address, buffer.nbytes, self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost)
        return values  # type: ignore[no-any-return]

    def bind(self, inputs: Mapping[str, _Memory], outputs: Mapping[str, _Memory]) -> Callable[[], None]:
        def run() -> None:
            context = self._context
            good = all(context.set_input_shape(name, memory.shape) for name, memory in inputs.items())
            for name, memory in (*inputs.items(), *outputs.items()):
                good = good and context.set_tensor_address(name, memory.address)
            if not good or not context.execute_async_v3(int(self._stream)):
                raise RunnerError(f"{self.name} refuses the call")

        return run

    def close(self) -> None:
        if self._context is None:
            return
        self._context = self._engine = None
        for address in self._addresses:
            self._cuda.cudaFree(address)  # whether it succeeds or not: the device may be lost
        self._cuda.cudaStreamDestroy(self._stream)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        """On the stream, and waited for: the host's memory is used again at once."""
        self._call("cudaMemcpyAsync", target, source, size, kind, self._stream)
        self._call("cudaStreamSynchronize", self._stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime, which returns (error,) or (error, result)."""
        error, *results = getattr(self._cuda, function)(*arguments)
        if int(error):
            raise RunnerError(f"{self.name}: {function} failed with CUDA error {int(error)}")
        return results[0] if results else None
