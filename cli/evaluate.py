"""`skelanon evaluate`: what frozen classifiers still tell from released skeletons."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .extras import needing_train

if TYPE_CHECKING:
    from skelanon.train.evaluate import Evaluation


def evaluate(
    releases: Annotated[
        list[str],
        typer.Argument(
            help="`raw`, `template`, `noise=0.01` (metres), `attack=RUN`, or the folder of an anonymizer's run."
        ),
    ],
    classifiers: Annotated[
        list[str], typer.Option("--classifier", help="Folder of a classifier's run; may be repeated.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the table to this file, as JSON.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at a time.")] = 64,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cpu",
) -> None:
    """Release test sequences in several ways and let frozen classifiers tell them. No measure of privacy."""
    with needing_train():
        from skelanon.train.checkpoint import write_atomically
        from skelanon.train.evaluate import evaluate as evaluate_releases
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("batches")
        table = evaluate_releases(
            releases,
            classifiers,
            batch_size=batch_size,
            device=device,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(as_markdown(table))
    if out is not None:
        write_atomically(out, msgspec.json.format(msgspec.json.encode(table)) + b"\n")


def as_markdown(table: "Evaluation") -> str:
    """The table as it stands in docs/results.md; a star marks what a release was trained against or aimed at."""
    first = table.rows[0].accuracies
    heads = ["release", "RMSE", "MPJPE", *(f"{one.label} {one.network}" for one in first)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for row in table.rows:
        told = (f"{one.top1:.3f}{'' if one.held_out else '*'}" for one in row.accuracies)
        lines.append([row.release, f"{row.rmse_m:.4f}", f"{row.mpjpe_m:.4f}", *told])
    priors = ", ".join(f"{label} {share:.3f}" for label, share in table.prior.items())
    return "\n".join(
        [
            table.caution,
            f"{table.test_sequences} test sequences; guessing the most frequent class: {priors}.",
            "* trained against, or aimed at, this classifier. RMSE of coordinates and MPJPE in metres.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in lines),
        ]
    )
