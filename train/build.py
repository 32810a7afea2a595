"""Builds bundles: of Template, of the public residual checkpoint, of trained anonymizers."""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from skelanon.configs.training import TokensRun
from skelanon.export.bundle import Bundle
from skelanon.export.exporter import export_bundle
from skelanon.export.manifest import Axes, Manifest, Precision
from skelanon.sensors.body import REFERENCE_STATURE_M

from .anonymizers.module import StreamModule
from .anonymizers.normalise import Normalised
from .anonymizers.residual import load_reference_checkpoint
from .anonymizers.template import Template, TemplateRoot
from .anonymizers.tokens import MotionTokens
from .anonymizers.unet import UNet
from .checkpoint import DataRecord, RunFolder
from .errors import CheckpointError
from .samples import extreme_samples, random_samples
from .trained import AnonymizerRun, load_anonymizer, load_tokens

PARITY_TOLERANCE_M: Final[dict[Precision, float]] = {"float32": 1e-5, "float16": 2e-3}

_LOCAL: Final[Any] = {
    "out": True, "action": True, "private": True, "data": {"folder": True}, "anonymizer": {"weights": True},
}  # fmt: skip
"""Settings that are paths: a bundle is handed on, and a folder's name may name whom it is about."""


def build_template(
    path: str | os.PathLike[str], root: TemplateRoot = "foot_anchored", *, precision: Precision = "float32"
) -> Bundle:
    """Write the bundle of the Template anonymizer; with `foot_anchored`, it is the one that comes with skelanon.

    Raises BundleError when it cannot be written or fails the parity gate.
    """
    provenance = {"config": {"root": root, "stature_m": REFERENCE_STATURE_M}}
    return export_module(Template(root), path, precision, name="template", anonymizer="template", provenance=provenance)


def build_reference_residual(
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    axes: Axes = "normalised",
    *,
    precision: Precision = "float32",
) -> Bundle:
    """Write the bundle of the public residual checkpoint.

    Raises CheckpointError for another file, BundleError when the bundle cannot be written or fails the parity gate.
    """
    network = load_reference_checkpoint(checkpoint)
    return export_module(
        Normalised(network, network.bodies_per_sample, axes),
        path,
        precision,
        name="residual-reference",
        anonymizer="residual",
        provenance={"checkpoint_sha256": hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()},
        data_licence="weights CC BY-NC 4.0; trained by others on NTU RGB+D: academic use, no redistribution",
    )


def build_trained(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    axes: Axes = "normalised",
    *,
    precision: Precision = "float32",
) -> Bundle:
    """Write the bundle of an anonymizer that `skelanon train` has trained.

    Raises CheckpointError: no finished run of an anonymizer, or of one that must see whole clips. BundleError when the
    bundle cannot be written or fails the parity gate.
    """
    if isinstance(RunFolder(run).settings(), TokensRun):
        return _build_tokens(run, path, precision)
    trained = load_anonymizer(run)
    if isinstance(trained.network, UNet):
        raise CheckpointError(
            f"{run} is a U-Net: it needs the whole clip, from its first to its last frame, and cannot be streamed"
        )
    settings = trained.run
    return export_module(
        Normalised(trained.network, settings.data.bodies, axes),
        path,
        precision,
        name=f"{settings.anonymizer.kind.replace('_', '-')}-{settings.task}",
        anonymizer=settings.anonymizer.kind,
        **_origin(settings, trained.data),
    )


def _build_tokens(run: str | os.PathLike[str], path: str | os.PathLike[str], precision: Precision) -> Bundle:
    """Their bodies stand where they are drawn, whatever axes were asked for."""
    if precision != "float32":
        raise CheckpointError(f"{run} is one of motion tokens, which have no {precision} form: take float32")
    trained = load_tokens(run)
    module = MotionTokens(trained.network)
    return export_module(
        module,
        path,
        precision,
        name="motion-tokens",
        anonymizer="tokens",
        bits_per_frame=module.bits_per_frame,
        presence_frames=module.network.settings.presence,
        **_origin(trained.run, trained.data),
    )


def _origin(run: AnonymizerRun | TokensRun, data: DataRecord) -> dict[str, Any]:
    """What the manifest says of how a model was trained."""
    return {
        "provenance": {
            "config": run.model_dump(exclude=_LOCAL),
            "data": {"fingerprint": data.fingerprint, "train": data.train, "test": data.test},
            "seed": run.trainer.seed,
            "versions": {name: version(name) for name in ("skelanon", "numpy")},  # torch's is in `packages`
        },
        "data_licence": data.licence,
    }


def export_module(module: StreamModule, path: str | os.PathLike[str], precision: Precision, **about: Any) -> Bundle:
    """Write the bundle of any anonymizer, in float16 only after a comparison with its float32 form.

    about: what the manifest says beyond what the module knows of itself. Raises BundleError.
    """
    manifest = Manifest(
        bodies_per_sample=module.bodies_per_sample,
        state_size=module.state_size,
        persona_size=module.persona_size,
        axes=module.axes,
        root=module.root,
        precision=precision,
        parity_tolerance_m=PARITY_TOLERANCE_M[precision],
        **about,
    )
    return export_bundle(
        module if precision == "float32" else module.in_half_precision(),
        manifest,
        path,
        random_samples(tracks=16, frames=6, bodies_per_sample=module.bodies_per_sample),
        extremes=extreme_samples(bodies_per_sample=module.bodies_per_sample),
        reference=module,
    )
