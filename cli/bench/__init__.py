"""`skelanon bench`: what the node costs on this machine, beside what a bare socket costs."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    bundles: Annotated[
        list[str] | None, typer.Option("--bundle", help="Bundle file, or `default`; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this file, as JSON.")] = None,
    skeleton: Annotated[
        Path | None, typer.Option(help="Recording to parse; otherwise a made-up one.", exists=True, dir_okay=False)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds instead of a minute; too short to be quoted.")
    ] = False,
) -> None:
    """Measure latency, throughput, memory and start-up of the node, with machine and versions."""
    from .session import run_bench

    run_bench(bundles or ["default"], out=out, skeleton=skeleton, quick=quick)
