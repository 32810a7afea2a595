"""`skelanon keys`: CURVE key files."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make CURVE keys for encrypted, authenticated streams.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make CURVE keys for encrypted, authenticated streams."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the node or client that the key pair is for.")],
    folder: Annotated[Path, typer.Option(help="Folder for the two files.")] = Path("keys"),
) -> None:
    """Make a key pair: NAME.key to give away, NAME.key_secret to keep."""
    from skelanon.sensors.keys import create_keys

    public, secret = create_keys(folder, name)
    typer.echo(f"{public}  public: a node keeps those of its clients in one folder; clients need the node's")
    typer.echo(f"{secret}  secret: keep it where it is used, readable by its owner alone")
