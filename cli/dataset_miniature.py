"""`skelanon dataset miniature`: small data sets of made-up persons."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def miniature(
    kind: Annotated[Literal["ntu", "etri"], typer.Argument(help="Whose files to imitate.")],
    out: Annotated[Path, typer.Argument(help="The folder to write: a new or an empty one.")],
    subjects: Annotated[int, typer.Option(help="Persons.")] = 4,
    actions: Annotated[int, typer.Option(help="Actions: wave, walk, sit, fall, stand.")] = 4,
    views: Annotated[int, typer.Option(help="Cameras.")] = 3,
    trials: Annotated[int, typer.Option(help="How often each person does each action.")] = 2,
    frames: Annotated[int, typer.Option(help="Frames of a recording, 30 a second.")] = 60,
    late: Annotated[float, typer.Option(help="Recordings begin up to so many seconds after the action does.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 0,
    malformed: Annotated[bool, typer.Option("--malformed", help="etri: add a recording that is cut off.")] = False,
) -> None:
    """Write made-up recordings in a real data set's format, to import and train on."""
    from skelanon.train.data.miniature import write_miniature_etri, write_miniature_ntu

    if kind == "ntu" and malformed:
        raise typer.BadParameter("--malformed is for etri")
    size: dict[str, Any] = {
        "subjects": subjects, "actions": actions, "views": views, "trials": trials, "frames": frames, "seed": seed,
        "late_s": late,
    }  # fmt: skip
    if kind == "ntu":
        written = write_miniature_ntu(out, **size)
    else:
        written = write_miniature_etri(out, **size, malformed=malformed)
    typer.echo(f"{out}: {written} recordings of {subjects} made-up persons")
