"""Writes a torch module as a recognizer, after a parity gate: ONNX Runtime must tell what torch tells."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from .bundle import RECOGNIZER_KEY, seal_text
from .errors import BundleError
from .exporter import toolchain
from .graph import to_onnx
from .ort_cpu import cpu_session
from .recognizer import INPUT, OUTPUT, Recognizer, RecognizerManifest, to_json
from .runner import Floats
from .whole_file import write_whole

if TYPE_CHECKING:
    import torch


def export_recognizer(
    module: "torch.nn.Module", manifest: RecognizerManifest, path: str | os.PathLike[str], clips: Floats
) -> Recognizer:
    """Export a module, compare it with ONNX Runtime, and only then write the file, in one piece.

    module: takes `joints` (N, T, P, 25, 3) and returns (N, K) confidences; it is put into eval mode. clips: what the
    two are compared on, N >= 3.
    Raises BundleError: not exportable, out of `parity_tolerance`, or not writable; `path` is then as it was.
    """
    module.eval()
    manifest = msgspec.structs.replace(manifest, provenance=manifest.provenance | toolchain())
    graph = to_onnx(module, "recognizer", {INPUT: clips[:2]}, [OUTPUT])
    model = seal_text(graph, RECOGNIZER_KEY, to_json(manifest))
    _check_parity(module, model, manifest, [clips, clips[:1], clips[1:3]])
    try:
        write_whole(Path(path), model)
    except OSError as error:
        raise BundleError(f"cannot write the recognizer: {error.strerror}") from error
    return Recognizer(path)


def _check_parity(
    module: "torch.nn.Module", model: bytes, manifest: RecognizerManifest, batches: Sequence[Floats]
) -> None:
    import torch

    session = cpu_session(model)
    for clips in batches:
        with torch.inference_mode():
            ours = module(torch.from_numpy(clips)).numpy()
        try:
            (theirs,) = session.run([OUTPUT], {INPUT: clips})
        except Exception as error:
            raise BundleError(f"onnxruntime cannot run the exported graph ({type(error).__name__})") from error
        if theirs.shape != (len(clips), len(manifest.classes)):
            raise BundleError(
                f"the graph tells {theirs.shape}, not {len(manifest.classes)} classes of {len(clips)} clips"
            )
        difference = float(np.abs(ours - theirs).max())
        if not difference <= manifest.parity_tolerance:  # not a number is no match either
            raise BundleError(
                f"parity gate: confidences of torch and of ONNX Runtime differ by {difference:.2g}, "
                f"{manifest.parity_tolerance:.2g} is allowed; nothing was written"
            )
