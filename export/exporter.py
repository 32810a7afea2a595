"""Writes a torch module as a bundle, after a parity gate: ONNX Runtime must compute what torch computes."""

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from .bundle import Bundle, seal
from .errors import BundleError, RunnerError
from .manifest import Manifest
from .onnx_runtime import import_onnxruntime
from .ort_cpu import OnnxRuntimeCpu
from .runner import Floats

if TYPE_CHECKING:
    import torch

OPSET: Final = 18
"""What torch's exporter writes without conversion; ONNX Runtime reads it from 1.14 on, TensorRT from 8.6 on."""
IR_VERSION: Final = 10
NEAR_M: Final = 10.0
"""`parity_tolerance_m` holds for coordinates up to this, and in proportion for larger ones: float32 is relative."""
EXTREMES: Final = (0.0, 1e-30, 1e-6, 1e-3, 1e3, 1e6)
"""Factors by which the samples are scaled to make values that no body has."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Samples:
    """T frames of N tracks of P bodies, made up, to compare two implementations on.

    joints: (T, N, P, 25, 3) float32, metres, camera axes, zeros where absent. present: (T, N, P) float32.
    """

    joints: Floats
    present: Floats


def export_bundle(
    module: "torch.nn.Module", manifest: Manifest, path: str | os.PathLike[str], samples: Samples
) -> Bundle:
    """Export a module, compare it with ONNX Runtime, and only then write the bundle, in one piece.

    module: takes the manifest's inputs by name and returns its outputs as a tuple; it is put into eval mode. The
    manifest's provenance gains the versions of what wrote the graph. The same module gives the same bytes every time.
    Raises BundleError: not exportable, not what the manifest says, out of `parity_tolerance_m`, or not writable; the
    file at `path` is then as it was.
    """
    module.eval()
    manifest = msgspec.structs.replace(manifest, provenance=manifest.provenance | _toolchain())
    model = seal(_to_onnx(module, manifest, samples), manifest)
    bundle = Bundle(manifest, hashlib.sha256(model).hexdigest(), model)
    _check_parity(module, bundle, samples)
    _write(Path(path), model)
    return bundle


def _toolchain() -> dict[str, Any]:
    versions = {name: version(name).partition("+")[0] for name in ("torch", "onnx", "onnxscript", "onnx-ir")}
    return {"packages": versions, "opset": OPSET}


def _to_onnx(module: "torch.nn.Module", manifest: Manifest, samples: Samples) -> bytes:
    """The serialised graph, N left open, and nothing else: no names of files, no traces of the source."""
    import torch

    batch = torch.export.Dim("N")
    inputs = {name: torch.from_numpy(value[:2]) for name, value in _inputs(manifest, samples, 0).items()}
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                kwargs=inputs,
                input_names=list(inputs),
                output_names=list(manifest.outputs),
                dynamic_shapes={name: {0: batch} for name in inputs},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise BundleError(f"torch cannot export this module ({type(error).__name__}): see the cause") from error
    assert program is not None  # it is None only for the old exporter
    model = program.model_proto
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for field in ("producer_name", "producer_version", "domain", "model_version"):
        model.ClearField(field)
    graph.ClearField("value_info")
    graph.name = manifest.anonymizer
    model.ir_version = IR_VERSION
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about packages it could also use, and its own deprecations, to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_parity(module: "torch.nn.Module", bundle: Bundle, samples: Samples) -> None:
    """Run both, frame by frame with carried state, for batches of different sizes and values of any size."""
    onnxruntime = import_onnxruntime()

    try:
        OnnxRuntimeCpu(bundle).close()
    except RunnerError as error:
        raise BundleError("onnxruntime cannot run the exported graph: see the cause") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    for size in sorted({1, 2, samples.joints.shape[1]}):
        batch = Samples(samples.joints[:, :size], samples.present[:, :size])
        _compare(module, session, bundle.manifest, batch)
        for factor in EXTREMES:
            _compare(module, session, bundle.manifest, Samples(batch.joints * np.float32(factor), batch.present))


def _compare(module: "torch.nn.Module", session: Any, manifest: Manifest, samples: Samples) -> None:
    """Raise BundleError at the first frame in which the two differ, each carrying its own state."""
    import torch

    allowed = manifest.parity_tolerance_m * max(1.0, float(np.abs(samples.joints).max()) / NEAR_M)
    names = list(manifest.outputs)
    ours, theirs = ({name: np.zeros(0, np.float32) for name in names} for _ in range(2))
    for frame in range(len(samples.joints)):
        feed = _inputs(manifest, samples, frame)
        torch_feed, onnx_feed = feed, dict(feed)
        if frame and manifest.state_size:
            torch_feed, onnx_feed = feed | {"state": ours["next_state"]}, feed | {"state": theirs["next_state"]}
        with torch.inference_mode():
            results = module(**{name: torch.from_numpy(value) for name, value in torch_feed.items()})
        ours = {name: result.numpy() for name, result in zip(names, results, strict=True)}
        try:
            theirs = dict(zip(names, session.run(names, onnx_feed), strict=True))
        except Exception as error:
            raise BundleError(f"onnxruntime cannot run the exported graph ({type(error).__name__})") from error
        for name in names:
            _check_close(name, ours[name], theirs[name], allowed, manifest)


def _check_close(name: str, ours: Floats, theirs: Floats, allowed: float, manifest: Manifest) -> None:
    finite = np.isfinite(ours)
    if ours.shape != theirs.shape or not np.array_equal(finite, np.isfinite(theirs)):
        raise BundleError(f"parity gate: `{name}` of torch and of ONNX Runtime differ in shape or in what is finite")
    difference = float(np.abs(ours - theirs, where=finite, out=np.zeros_like(ours)).max(initial=0.0))
    if difference > allowed:
        raise BundleError(
            f"parity gate: `{name}` of torch and of ONNX Runtime differ by {difference:.2g}, {allowed:.2g} is allowed "
            f"(`parity_tolerance_m` {manifest.parity_tolerance_m:.2g} up to {NEAR_M:g} m); nothing was written"
        )


def _inputs(manifest: Manifest, samples: Samples, frame: int) -> dict[str, Floats]:
    """The graph's inputs for one frame of all tracks; the state is that of new tracks."""
    tracks = samples.joints.shape[1]
    values = {
        "joints": samples.joints[frame],
        "present": samples.present[frame],
        "state": np.zeros((tracks, manifest.state_size), np.float32),
        "persona": np.random.default_rng(0).standard_normal((tracks, manifest.persona_size)).astype(np.float32),
    }
    return {name: np.ascontiguousarray(values[name]) for name in manifest.inputs}


def _write(path: Path, model: bytes) -> None:
    """Write beside the target and move into place, so that no reader ever sees half a bundle."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(model)
        os.replace(temporary, path)
    except OSError as error:
        raise BundleError(f"cannot write the bundle: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
