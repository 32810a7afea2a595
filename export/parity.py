"""The parity gate: ONNX Runtime must compute what torch computes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .bundle import Bundle
from .errors import BundleError, RunnerError
from .manifest import Manifest, Precision
from .ort_cpu import OnnxRuntimeCpu, cpu_session
from .runner import Floats
from .samples import Samples

if TYPE_CHECKING:
    import torch

NEAR_M: Final = 10.0
"""`parity_tolerance_m` holds for coordinates up to this, and in proportion for larger ones: float32 is relative."""
FACTORS: Final[dict[Precision, tuple[float, ...]]] = {
    "float32": (1.0, 0.0, 1e-30, 1e-6, 1e-3, 1e3, 1e6),
    "float16": (1.0, 0.0, 1e-30, 1e-6, 1e-3),
}
"""By which samples are scaled to make values that no body has. float16 ends at 65504, and no body that the stream lets
through is larger than 100 m."""
GIANTS: Final = 10.0
"""Times the tolerance for bodies scaled up: nobody sees them; what counts is that neither overflows alone."""


def check_parity(
    reference: "torch.nn.Module", bundle: Bundle, samples: Samples, extremes: Sequence[Samples] = ()
) -> None:
    """Run both, frame by frame with carried state, for batches of different sizes and values of any size.

    reference: takes the manifest's inputs by name and returns its outputs as a tuple, in float32. samples: also in
    smaller batches and scaled; extremes: as they are. Raises BundleError: out of `parity_tolerance_m`, or not runnable.
    """
    session = _session(bundle)
    for size in sorted({1, 2, samples.joints.shape[1]}):
        for factor in FACTORS[bundle.manifest.precision]:
            slack = 1.0 if factor <= 1.0 else GIANTS
            _compare(reference, session, bundle.manifest, samples.tracks(size).scaled(factor), slack)
    for extreme in extremes:
        _compare(reference, session, bundle.manifest, extreme)


def _session(bundle: Bundle) -> Any:
    try:
        OnnxRuntimeCpu(bundle).close()
    except RunnerError as error:
        raise BundleError("onnxruntime cannot run the exported graph: see the cause") from error
    return cpu_session(bundle.model)


def _compare(
    reference: "torch.nn.Module", session: Any, manifest: Manifest, samples: Samples, slack: float = 1.0
) -> None:
    """Raise BundleError at the first frame in which the two differ, each carrying its own state."""
    import torch

    names = list(manifest.outputs)
    ours, theirs = ({name: np.zeros(0, np.float32) for name in names} for _ in range(2))
    for frame in range(len(samples.joints)):
        feed = samples.inputs(manifest, frame)
        torch_feed, onnx_feed = feed, dict(feed)
        if frame and manifest.state_size:
            torch_feed, onnx_feed = feed | {"state": ours["next_state"]}, feed | {"state": theirs["next_state"]}
        with torch.inference_mode():
            results = reference(**{name: torch.from_numpy(value) for name, value in torch_feed.items()})
        ours = {name: result.numpy() for name, result in zip(names, results, strict=True)}
        try:
            theirs = dict(zip(names, session.run(names, onnx_feed), strict=True))
        except Exception as error:
            raise BundleError(f"onnxruntime cannot run the exported graph ({type(error).__name__})") from error
        for name in names:
            _check_close(
                name, slack * _allowed(manifest, feed["joints"], ours[name]), ours[name], theirs[name], manifest
            )


def _allowed(manifest: Manifest, *values: Floats) -> float:
    """Metres, for values of this size."""
    largest = max(
        float(np.abs(part, where=np.isfinite(part), out=np.zeros_like(part)).max(initial=0.0)) for part in values
    )
    return manifest.parity_tolerance_m * max(1.0, largest / NEAR_M)


def _check_close(name: str, allowed: float, ours: Floats, theirs: Floats, manifest: Manifest) -> None:
    finite = np.isfinite(ours)
    if ours.shape != theirs.shape or not np.array_equal(finite, np.isfinite(theirs)):
        raise BundleError(f"parity gate: `{name}` of torch and of ONNX Runtime differ in shape or in what is finite")
    difference = float(np.abs(ours - theirs, where=finite, out=np.zeros_like(ours)).max(initial=0.0))
    if difference > allowed:
        raise BundleError(
            f"parity gate: `{name}` of torch and of ONNX Runtime differ by {difference:.2g}, {allowed:.2g} is allowed "
            f"(`parity_tolerance_m` {manifest.parity_tolerance_m:.2g} up to {NEAR_M:g} m); nothing was written"
        )
