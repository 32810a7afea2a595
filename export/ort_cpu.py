"""Runs a bundle in ONNX Runtime on the CPU."""

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
        self._inputs = list(self.manifest.inputs)
        self._outputs = list(self.manifest.outputs)
        self._warm_up()

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        feed = {"joints": joints, "present": present, "state": state, "persona": persona}
        try:
            results = self._session.run(self._outputs, {name: feed[name] for name in self._inputs})
        except Exception as error:
            raise RunnerError(f"the model call failed in onnxruntime ({type(error).__name__})") from error
        return results[0], results[1] if len(results) > 1 else state

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
        size = self.manifest.bodies_per_sample
        pose = np.random.default_rng(0).standard_normal((1, *self.manifest.inputs["joints"])).astype(np.float32)
        for _ in range(3):
            self.step([0], [True], pose, np.ones((1, size), np.float32))
