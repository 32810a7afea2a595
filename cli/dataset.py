"""`skelanon dataset`: imports recordings, and shows what a data set holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import dataset_miniature, dataset_publish, dataset_show
from .exits import Exit
from .progress import progress_bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

app = typer.Typer(no_args_is_help=True, help="Import recordings as data sets to train on, and look at them.")


@app.command("import")
def import_(
    kind: Annotated[Literal["ntu", "etri", "utd-mhad", "npz"], typer.Argument(help="Whose files they are.")],
    folder: Annotated[Path, typer.Argument(help="The folder of the recordings; npz: the file.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; left unfinished, it is gone on with.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one for each core")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of your own recordings in this format.", show_default="that of the kind")
    ] = None,
) -> None:
    """Import recordings. Stopped at any point, the same command goes on where it was."""
    from skelanon.train.data.importing import import_dataset

    try:
        with progress_bar("recordings") as progress:
            import_dataset(kind, folder, out, workers=workers, licence=licence, progress=progress)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    _summarise(out)


@app.command()
def info(folder: Annotated[Path, typer.Argument(help="A folder that `skelanon dataset import` wrote.")]) -> None:
    """Show what a data set holds, what was left out and why, and its licence."""
    _summarise(folder)


def _values(labels: "NDArray[Any] | None") -> str:
    """How many values a label has."""
    return "not labelled" if labels is None else f"{len(set(labels[labels >= 0].tolist())):,}"


def _summarise(folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from skelanon.train.data.store import SkeletonDataset

    dataset = SkeletonDataset(folder)
    about, published = dataset.info, dataset.info.published
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "kind": about.kind,
        "kept": f"{about.kept:,} sequences",
        **{f"skipped: {reason}": f"{count:,}" for reason, count in about.skipped.items()},
        "frames": f"{int(dataset.frames.sum()):,} at {about.rate_hz:g} a second",
        "bodies": f"up to {int(dataset.bodies.max())} in a sequence",
        "persons": _values(dataset.labels.get("subject")),
        "actions": _values(dataset.labels.get("action")),
        "labels": ", ".join(dataset.labels),
        "measured": f"{sum(about.measured)} of {len(about.measured)} joints",
        "bytes": f"{sum(path.stat().st_size for path in folder.iterdir() if path.is_file()):,}",
        "licence": about.licence,
        "fingerprint": about.fingerprint,
        **({} if published is None else {"published by": f"{published.model}, sha256 {published.sha256}"}),
    }
    for heading, value in rows.items():
        table.add_row(Text(heading), Text(value))
    Console().print(table)


app.command("publish")(dataset_publish.publish)
app.command("show")(dataset_show.show)
app.command("miniature")(dataset_miniature.miniature)
