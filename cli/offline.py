"""`skelanon export` and `inspect`: bundles."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    root: Annotated[
        Literal["foot_anchored", "body_centred", "keep"] | None,
        typer.Option(help="Template: what becomes of the body's place.", show_default="foot_anchored"),
    ] = None,
    reference_checkpoint: Annotated[
        Path | None, typer.Option(help="Residual: the public checkpoint of the paper's authors.")
    ] = None,
    axes: Annotated[
        Literal["camera", "normalised"] | None,
        typer.Option(help="Residual: axes of the published joints.", show_default="normalised"),
    ] = None,
) -> None:
    """Write a bundle: the Template anonymizer, or the Residual one of a public checkpoint. Needs the `train` extra."""
    try:
        from skelanon.train.build import build_reference_residual, build_template
    except ImportError as error:
        raise typer.BadParameter(f"{error.name} is not installed: pip install 'skelanon[train]'") from error
    if (axes if reference_checkpoint is None else root) is not None:
        raise typer.BadParameter("--root is for the Template anonymizer, --axes for that of --reference-checkpoint")
    if reference_checkpoint is None:
        bundle = build_template(out, root or "foot_anchored")
    else:
        bundle = build_reference_residual(reference_checkpoint, out, axes or "normalised")
    typer.echo(f"{out}: {bundle.manifest.name}, sha256 {bundle.sha256}")


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
