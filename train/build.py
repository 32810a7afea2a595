"""Builds the bundles that need no training of ours."""

import hashlib
import os
from pathlib import Path
from typing import Any, Final

from skelanon.export.bundle import Bundle
from skelanon.export.exporter import export_bundle
from skelanon.export.manifest import Axes, Manifest
from skelanon.sensors.body import REFERENCE_STATURE_M

from .anonymizers.module import StreamModule
from .anonymizers.normalise import Normalised
from .anonymizers.residual import load_reference_checkpoint
from .anonymizers.template import Template, TemplateRoot
from .samples import random_samples

PARITY_TOLERANCE_M: Final = 1e-5


def build_template(path: str | os.PathLike[str], root: TemplateRoot = "foot_anchored") -> Bundle:
    """Write the bundle of the Template anonymizer; with `foot_anchored`, it is the one that comes with skelanon.

    Raises BundleError when it cannot be written or fails the parity gate.
    """
    provenance = {"config": {"root": root, "stature_m": REFERENCE_STATURE_M}}
    return _export(Template(root), path, name="template", anonymizer="template", provenance=provenance)


def build_reference_residual(
    checkpoint: str | os.PathLike[str], path: str | os.PathLike[str], axes: Axes = "normalised"
) -> Bundle:
    """Write the bundle of the public residual checkpoint.

    Raises CheckpointError for another file, BundleError when the bundle cannot be written or fails the parity gate.
    """
    network = load_reference_checkpoint(checkpoint)
    return _export(
        Normalised(network, network.bodies_per_sample, axes),
        path,
        name="residual-reference",
        anonymizer="residual",
        provenance={"checkpoint_sha256": hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()},
        data_licence="weights CC BY-NC 4.0; trained by others on NTU RGB+D: academic use, no redistribution",
    )


def _export(module: StreamModule, path: str | os.PathLike[str], **about: Any) -> Bundle:
    manifest = Manifest(
        bodies_per_sample=module.bodies_per_sample,
        state_size=module.state_size,
        persona_size=module.persona_size,
        axes=module.axes,
        root=module.root,
        parity_tolerance_m=PARITY_TOLERANCE_M,
        **about,
    )
    return export_bundle(
        module, manifest, path, random_samples(tracks=16, frames=6, bodies_per_sample=module.bodies_per_sample)
    )
