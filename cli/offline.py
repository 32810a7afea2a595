"""`skelanon export` and `inspect`: bundles."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", help="The bundle to write.")]


def inspect(bundle: Annotated[str, typer.Argument(help="Bundle file, or `default`.")] = "default") -> None:
    """Verify a bundle and show its manifest and digest."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from skelanon.export.bundle import default_bundle_path, read_bundle

    found = read_bundle(default_bundle_path() if bundle == "default" else bundle)
    table = Table(show_header=False, box=None)
    table.add_row("sha256", found.sha256)
    table.add_row("size", f"{len(found.model):,} bytes")
    for key, value in msgspec.to_builtins(found.manifest).items():
        table.add_row(key, str(value))
    for key, shapes in (("inputs", found.manifest.inputs), ("outputs", found.manifest.outputs)):
        table.add_row(key, ", ".join(f"{name} {['N', *shape]}".replace("'", "") for name, shape in shapes.items()))
    Console(soft_wrap=True).print(table)
