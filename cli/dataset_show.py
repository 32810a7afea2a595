"""`skelanon dataset show`: looks at a sequence."""

from pathlib import Path
from typing import Annotated

import typer

from .extras import needing_train


def show(
    folder: Annotated[Path, typer.Argument(help="A folder that `skelanon dataset import` wrote.")],
    index: Annotated[int, typer.Argument(help="The sequence, from 0 on.")],
    out: Annotated[Path, typer.Option(help="Picture (.png: some frames in a row) or animation (.gif) to write.")],
    side: Annotated[bool, typer.Option("--side", help="Show it from the side as well.")] = False,
    panels: Annotated[int, typer.Option(help="Frames in a picture.")] = 8,
) -> None:
    """Draw a sequence of a data set: raw skeletons of a person. Needs the `train` extra."""
    with needing_train():
        from skelanon.train.data.show import show_sequence
    from skelanon.train.data.store import SkeletonDataset

    show_sequence(SkeletonDataset(folder), index, out, panels=panels, views=("front", "side") if side else ("front",))
    typer.echo(f"{out}: sequence {index} of {folder}")
