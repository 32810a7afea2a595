"""`skelanon figure`: figures of the paper and of audits, as PNG and as JSON. Needs the `train` extra."""

from pathlib import Path
from typing import Annotated

import typer

from .extras import needing_train

app = typer.Typer(
    no_args_is_help=True, help="Draw figures of the paper and of audits, as PNG and as JSON with their numbers."
)

Out = Annotated[Path, typer.Option(help="Picture (.png) to write; its numbers go beside it, as .json.")]
AllClassifiers = Annotated[
    bool,
    typer.Option(
        "--all-classifiers", help="Count classifiers too that a release was trained against: flatters it even more."
    ),
]


@app.command("ensemble-size")
def ensemble_size(
    evaluation: Annotated[Path, typer.Argument(help="What `skelanon evaluate --out` wrote.")],
    out: Out,
    all_classifiers: AllClassifiers = False,
) -> None:
    """Figure 3: accuracies by the size of the ensemble that anonymizers were trained against."""
    with needing_train():
        from skelanon.train.figures import draw_ensemble_size
    numbers = draw_ensemble_size(evaluation, out, all_classifiers=all_classifiers)
    _report(out, f"{len(numbers.runs)} runs", numbers.caution)


@app.command("trade-off")
def trade_off(
    evaluations: Annotated[list[Path], typer.Argument(help="What `skelanon evaluate --out` wrote.")],
    out: Out,
    all_classifiers: AllClassifiers = False,
) -> None:
    """Figure 4 and table 5: action against private accuracy, a point for each release."""
    with needing_train():
        from skelanon.train.figures import draw_trade_off
    numbers = draw_trade_off(evaluations, out, all_classifiers=all_classifiers)
    _report(out, f"{len(numbers.points)} releases", numbers.caution)


@app.command()
def curves(
    runs: Annotated[list[str], typer.Argument(help="Folders of anonymizers' runs, finished or not.")], out: Out
) -> None:
    """Figure 5: accuracies and distance over the epochs of training."""
    with needing_train():
        from skelanon.train.figures import draw_curves
    numbers = draw_curves(runs, out)
    _report(out, f"{len(numbers.runs)} runs", numbers.caution)


@app.command()
def skeletons(
    release: Annotated[
        str, typer.Argument(help="Folder of an anonymizer's run, or `template`, `noise=0.05` (metres), `attack=RUN`.")
    ],
    index: Annotated[int, typer.Option(min=0, help="Number of a test sequence in the data set, from 0 on.")],
    out: Out,
    classifier: Annotated[
        str | None, typer.Option(help="Run whose data to take, where the release is no run itself.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames to show.")] = 8,
) -> None:
    """Figure 6: a sequence before and after. Picture and numbers show a real person's raw skeleton."""
    with needing_train():
        from skelanon.train.figures import draw_before_and_after
    numbers = draw_before_and_after(release, index, out, classifier=classifier, frames=frames)
    _report(
        out, f"sequence {numbers.sequence}, {len(numbers.seconds)} frames", f"Licence of the data: {numbers.licence}"
    )


@app.command()
def bits(
    audits: Annotated[
        list[Path], typer.Argument(help="The `audit.json` of an audit, or of several of one set by the same attackers.")
    ],
    out: Out,
) -> None:
    """What a frame may carry, against what attackers who retrain tell, and recognizers."""
    with needing_train():
        from skelanon.audit.bits_figure import draw_bits
        from skelanon.audit.report import read_audit
    numbers = draw_bits({audit: read_audit(audit) for audit in audits}, out)
    _report(out, f"{len({point.release for point in numbers.points})} releases", numbers.caution)


def _report(out: Path, what: str, caution: str) -> None:
    typer.echo(f"{out}, {out.with_suffix('.json')}: {what}")
    typer.echo(caution)
