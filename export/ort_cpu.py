"""Runs a bundle in ONNX Runtime on the CPU."""

from typing import Any, Final

import numpy as np

from .bundle import Bundle
from .errors import BundleError, RunnerError
from .manifest import Manifest
from .onnx_runtime import import_onnxruntime
from .runner import Floats, HostRunner

BOUND_SAMPLES: Final = 64
"""Calls of up to so many samples go through buffers of their own, one set for each number."""


def cpu_session(model: bytes, *, threads: int = 1) -> Any:
    """A session of an ONNX file: no thread spins, nothing is kept of a large call. Raises BundleError, RunnerError."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # it never shrinks, and saved no time that could be measured
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        raise BundleError(f"onnxruntime refuses the bundle's graph ({type(error).__name__})") from error


class Buffers:
    """Inputs and outputs of calls of N samples, which the session reads and writes in place: a tenth less per call."""

    def __init__(self, session: Any, manifest: Manifest, samples: int) -> None:
        self._session, self._binding = session, session.io_binding()
        self._inputs, self._outputs = (
            {name: np.zeros((samples, *shape), np.float32) for name, shape in shapes.items()}
            for shapes in (manifest.inputs, manifest.outputs)
        )
        for bind, buffers in ((self._binding.bind_input, self._inputs), (self._binding.bind_output, self._outputs)):
            for name, buffer in buffers.items():
                bind(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)

    def run(self, feed: dict[str, Floats]) -> list[Floats]:
        """Copies of the outputs. Raises ValueError for inputs of another shape, and whatever onnxruntime raises."""
        for name, buffer in self._inputs.items():
            if feed[name].shape != buffer.shape:
                raise ValueError(name)
            buffer[...] = feed[name]
        self._session.run_with_iobinding(self._binding)
        return [output.copy() for output in self._outputs.values()]


class OnnxRuntimeCpu(HostRunner):
    """A bundle in ONNX Runtime's CPU provider, threads not spinning.

    Raises RunnerError where onnxruntime is not installed, BundleError where the graph is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        self._session = cpu_session(bundle.model, threads=threads)
        self._check_graph()
        self._inputs = list(self.manifest.inputs)
        self._outputs = list(self.manifest.outputs)
        self._buffers: dict[int, Buffers] = {}
        self._warm_up()

    @property
    def runs_on(self) -> str:
        """The provider, as onnxruntime calls it."""
        return "CPUExecutionProvider"

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        feed = {"joints": joints, "present": present, "state": state, "persona": persona}
        try:
            results = self._run_in_buffers(feed) if len(joints) <= BOUND_SAMPLES else self._run(feed)
        except Exception as error:
            raise RunnerError(f"the model call failed in onnxruntime ({type(error).__name__})") from error
        return results[0], results[1] if len(results) > 1 else state

    def _run(self, feed: dict[str, Floats]) -> list[Floats]:
        results: list[Floats] = self._session.run(self._outputs, {name: feed[name] for name in self._inputs})
        return results

    def _run_in_buffers(self, feed: dict[str, Floats]) -> list[Floats]:
        samples = len(feed["joints"])
        if samples not in self._buffers:
            self._buffers[samples] = Buffers(self._session, self.manifest, samples)
        return self._buffers[samples].run(feed)

    def close(self) -> None:
        self._session, self._buffers = None, {}

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
            present = np.ones(joints.shape[:2], np.float32)
            try:
                results = self._run({"joints": joints, "present": present, "state": state, "persona": persona})
            except Exception as error:
                raise BundleError("onnxruntime cannot run the exported graph: see the cause") from error
            anonymous, after = results[0], results[1] if len(results) > 1 else state
            if anonymous.shape != joints.shape or after.shape != state.shape:
                raise BundleError(
                    f"the graph returns {anonymous.shape} and {after.shape} for {samples} samples, "
                    f"but the manifest says {joints.shape} and {state.shape}"
                )
            self._call(joints, present, state, persona)
