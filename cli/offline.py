"""`skelanon export` and `inspect`: bundles."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .extras import needing_train


def export(
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    run: Annotated[Path | None, typer.Argument(help="Folder of a run of `skelanon train`; otherwise Template.")] = None,
    root: Annotated[
        Literal["foot_anchored", "body_centred", "keep"] | None,
        typer.Option(help="Template: what becomes of the body's place.", show_default="foot_anchored"),
    ] = None,
    reference_checkpoint: Annotated[
        Path | None, typer.Option(help="Residual: the public checkpoint of the paper's authors.")
    ] = None,
    axes: Annotated[
        Literal["camera", "normalised"] | None,
        typer.Option(help="Any but Template: axes of the published joints.", show_default="normalised"),
    ] = None,
    precision: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Of the network's weights. float16 is for GPUs: a CPU converts it and gets slower."),
    ] = "float32",
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Also build its TensorRT engine for this GPU, for `runner: tensorrt`.")
    ] = False,
) -> None:
    """Write a bundle: of a run, of the public residual checkpoint, or of Template. Needs the `train` extra.

    The run of a classifier becomes a recognizer instead: for subscribers, as in examples/recognize.
    """
    with needing_train():
        from skelanon.train import build
    if run is not None and reference_checkpoint is not None:
        raise typer.BadParameter("give a run or --reference-checkpoint, not both")
    template = run is None and reference_checkpoint is None
    if (axes if template else root) is not None:
        raise typer.BadParameter("--root is for Template, --axes for the others")
    if run is not None and _is_classifier(run):
        if axes is not None or precision != "float32" or tensorrt:
            raise typer.BadParameter(f"{run} is a classifier: --axes, --precision and --tensorrt are for anonymizers")
        _export_recognizer(run, out)
        return
    if run is not None:
        bundle = build.build_trained(run, out, axes or "normalised", precision=precision)
    elif reference_checkpoint is not None:
        bundle = build.build_reference_residual(reference_checkpoint, out, axes or "normalised", precision=precision)
    else:
        bundle = build.build_template(out, root or "foot_anchored", precision=precision)
    typer.echo(f"{out}: {bundle.manifest.name}, sha256 {bundle.sha256}")
    if tensorrt:
        from skelanon.export.candidates import build_engine

        typer.echo(f"{build_engine(bundle)}: its engine, for this version of TensorRT and this GPU")


def _is_classifier(run: Path) -> bool:
    from skelanon.configs.training import ClassifierRun
    from skelanon.train.checkpoint import RunFolder

    return isinstance(RunFolder(run).settings(), ClassifierRun)


def _export_recognizer(run: Path, out: Path) -> None:
    from skelanon.train.recognizer import build_recognizer

    recognizer = build_recognizer(run, out)
    about = recognizer.manifest
    typer.echo(f"{out}: {about.name} of {len(about.classes)} classes, sha256 {recognizer.sha256}")


def inspect(bundle: Annotated[str, typer.Argument(help="Bundle file, or `default`.")] = "default") -> None:
    """Verify a bundle and show its manifest and digest."""
    import json

    import msgspec

    from skelanon.export.bundle import default_bundle_path, read_bundle

    found = read_bundle(default_bundle_path() if bundle == "default" else bundle)
    about = {"sha256": found.sha256, "size": f"{len(found.model):,} bytes", **msgspec.to_builtins(found.manifest)}
    for key, shapes in (("inputs", found.manifest.inputs), ("outputs", found.manifest.outputs)):
        about[key] = ", ".join(f"{name} [{', '.join(map(str, ('N', *shape)))}]" for name, shape in shapes.items())
    for key, value in about.items():
        plain = isinstance(value, str) and value.isprintable()  # nothing that steers a terminal
        typer.echo(f"{key:<20}{value if plain else json.dumps(value)}")
