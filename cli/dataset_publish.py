"""`skelanon dataset publish`: a data set as a stream would publish it."""

from pathlib import Path
from typing import Annotated

import typer

from .extras import needing_train
from .progress import progress_bar


def publish(
    bundle: Annotated[str, typer.Argument(help="A bundle file, or `template`, the one that comes with skelanon.")],
    folder: Annotated[Path, typer.Argument(help="A folder that `skelanon dataset import` wrote.")],
    out: Annotated[Path, typer.Argument(help="The folder to write: a new one.")],
) -> None:
    """Anonymize a data set, as the node would, to train recognizers of its stream on. Needs the `train` extra."""
    with needing_train():
        from skelanon.audit.publication import publish_dataset
        from skelanon.train.data.store import SkeletonDataset
    dataset = SkeletonDataset(folder)
    with progress_bar("sequences") as progress:
        info = publish_dataset(bundle, dataset, out, progress)
    typer.echo(f"{out}: {info.kept:,} of {len(dataset):,} sequences, fingerprint {info.fingerprint}")
