"""Writes a torch module as a bundle, after a parity gate: ONNX Runtime must compute what torch computes."""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .bundle import Bundle, seal
from .errors import BundleError
from .graph import OPSET, to_onnx
from .manifest import Manifest
from .parity import check_parity
from .samples import Samples
from .whole_file import write_whole

if TYPE_CHECKING:
    import torch


def export_bundle(
    module: "torch.nn.Module",
    manifest: Manifest,
    path: str | os.PathLike[str],
    samples: Samples,
    *,
    extremes: Sequence[Samples] = (),
    reference: "torch.nn.Module | None" = None,
) -> Bundle:
    """Export a module, compare it with ONNX Runtime, and only then write the bundle, in one piece.

    module: takes the manifest's inputs by name and returns its outputs as a tuple; it is put into eval mode. The
    manifest's provenance gains the versions of what wrote the graph. The same module gives the same bytes every time.
    reference: what the graph is compared with, where it is not the module itself (a float16 one with its float32 form).
    Raises BundleError: not exportable, not what the manifest says, out of `parity_tolerance_m`, or not writable; the
    file at `path` is then as it was.
    """
    module.eval()
    manifest = msgspec.structs.replace(manifest, provenance=manifest.provenance | toolchain())
    inputs = samples.tracks(2).inputs(manifest, 0)
    model = seal(to_onnx(module, manifest.anonymizer, inputs, manifest.outputs), manifest)
    bundle = Bundle(manifest, hashlib.sha256(model).hexdigest(), model)
    check_parity(module if reference is None else reference.eval(), bundle, samples, extremes)
    try:
        write_whole(Path(path), model)
    except OSError as error:
        raise BundleError(f"cannot write the bundle: {error.strerror}") from error
    return bundle


def toolchain() -> dict[str, Any]:
    """What writes graphs, for a manifest's provenance."""
    versions = {name: version(name).partition("+")[0] for name in ("torch", "onnx", "onnxscript", "onnx-ir")}
    return {"packages": versions, "opset": OPSET}
