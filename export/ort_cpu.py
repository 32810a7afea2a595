"""Runs a bundle in ONNX Runtime on the CPU."""

from collections.abc import Sequence

import numpy as np

from .bundle import Bundle
from .errors import BundleError, RunnerError
from .runner import Floats, Runner


class OnnxRuntimeCpu(Runner):
    """A bundle in ONNX Runtime's CPU provider, threads not spinning.

    Raises RunnerError where onnxruntime is not installed, BundleError where the graph is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        try:
            import onnxruntime
        except ImportError as error:
            raise RunnerError(
                "onnxruntime is not installed: pip install 'skelanon[cpu]' (or 'skelanon[gpu]')"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(f"onnxruntime refuses the bundle's graph ({type(error).__name__})") from error
        self._check_graph()
        self._outputs = list(self.manifest.outputs)
        self._state = np.zeros((0, self.manifest.state_size), np.float32)
        self._persona = np.zeros((0, self.manifest.persona_size), np.float32)
        self._random = np.random.default_rng()
        self._warm_up()

    def step(self, rows: Sequence[int], joints: Floats, present: Floats) -> Floats:
        manifest = self.manifest
        feed = {"joints": joints}
        if manifest.bodies_per_sample > 1:
            feed["present"] = present
        if manifest.state_size:
            feed["state"] = self._state[rows]
        if manifest.persona_size:
            feed["persona"] = self._persona[rows]
        try:
            results = self._session.run(self._outputs, feed)
        except Exception as error:
            raise RunnerError(f"the model call failed in onnxruntime ({type(error).__name__})") from error
        if manifest.state_size:
            self._state[rows] = results[1]
        anonymous: Floats = results[0]
        return anonymous

    def reset(self, row: int) -> None:
        if row >= len(self._state):
            more = max(8, row + 1 - len(self._state), len(self._state))
            self._state = np.pad(self._state, ((0, more), (0, 0)))
            self._persona = np.pad(self._persona, ((0, more), (0, 0)))
        self._state[row] = 0.0
        self._persona[row] = self._random.standard_normal(self.manifest.persona_size)

    def close(self) -> None:
        self._session = None

    def _check_graph(self) -> None:
        for what, wanted, found in (
            ("inputs", self.manifest.inputs, self._session.get_inputs()),
            ("outputs", self.manifest.outputs, self._session.get_outputs()),
        ):
            shapes = {value.name: tuple(value.shape[1:]) for value in found}
            if shapes != wanted or any(value.type != "tensor(float)" for value in found):
                raise BundleError(f"the graph's {what} are {shapes}, but the manifest says {wanted}, all float32")

    def _warm_up(self) -> None:
        """First calls are slow; the node says that it is ready only after them."""
        self.reset(0)
        size = self.manifest.bodies_per_sample
        pose = np.random.default_rng(0).standard_normal((1, size, *self.manifest.inputs["joints"][1:]))
        for _ in range(3):
            self.step([0], pose.astype(np.float32), np.ones((1, size), np.float32))
        self.reset(0)
