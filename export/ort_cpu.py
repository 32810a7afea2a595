"""Runs a bundle in ONNX Runtime on the CPU."""

import numpy as np

from .bundle import Bundle
from .errors import BundleError, RunnerError
from .onnx_runtime import import_onnxruntime
from .runner import Floats, Runner


class OnnxRuntimeCpu(Runner):
    """A bundle in ONNX Runtime's CPU provider, threads not spinning.

    Raises RunnerError where onnxruntime is not installed, BundleError where the graph is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
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
        """First calls are slow; the node is ready after them. They also show what a graph does, not only declares."""
        random = np.random.default_rng(0)
        for samples in (2, 1, 1):
            joints = random.standard_normal((samples, *self.manifest.inputs["joints"])).astype(np.float32)
            state = np.zeros((samples, self.manifest.state_size), np.float32)
            persona = np.zeros((samples, self.manifest.persona_size), np.float32)
            try:
                anonymous, after = self._call(joints, np.ones(joints.shape[:2], np.float32), state, persona)
            except RunnerError as error:
                raise BundleError("onnxruntime cannot run the exported graph: see the cause") from error
            if anonymous.shape != joints.shape or after.shape != state.shape:
                raise BundleError(
                    f"the graph returns {anonymous.shape} and {after.shape} for {samples} samples, "
                    f"but the manifest says {joints.shape} and {state.shape}"
                )
