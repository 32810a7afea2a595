"""A graph in ONNX Runtime, bound to memory that it never leaves: the device under `DeviceRunner`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from .device import Array, Device
from .errors import RunnerError
from .onnx_provider import why_absent

Provider = tuple[str, dict[str, str]]


class OrtDevice(Device):
    """One session of ONNX Runtime on its first provider, and on no other.

    memory: where the provider works: `cpu` or `cuda`. graphs: record each bound call as a CUDA graph and replay it.
    Raises RunnerError where the session cannot be made, or has silently fallen back to another provider.
    """

    def __init__(
        self, onnxruntime: Any, model: bytes, providers: Sequence[Provider], *, memory: str, graphs: bool = False
    ) -> None:
        self._onnxruntime = onnxruntime
        self._memory = memory
        self._graph_ids = count(1) if graphs else None
        wanted = self.name = providers[0][0]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=list(providers), enable_fallback=0)
        except Exception as error:
            raise RunnerError(f"{wanted} cannot load the model ({type(error).__name__})") from error
        actual = self._session.get_providers()[0]
        if actual != wanted:
            raise RunnerError(
                f"onnxruntime was asked for {wanted} and took {actual}: {why_absent(onnxruntime, wanted)}"
            )

    def allocate(self, values: Array) -> Any:
        return self._onnxruntime.OrtValue.ortvalue_from_numpy(np.array(values), self._memory, 0)

    def upload(self, buffer: Any, values: Array) -> None:
        buffer.update_inplace(values)

    def download(self, buffer: Any) -> Array:
        return np.array(buffer.numpy())

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Callable[[], None]:
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in outputs.items():
            binding.bind_ortvalue_output(name, buffer)
        options = self._onnxruntime.RunOptions()
        if self._graph_ids is not None:
            options.add_run_config_entry("gpu_graph_id", str(next(self._graph_ids)))
        return partial(self._session.run_with_iobinding, binding, options)

    def close(self) -> None:
        self._session = None
