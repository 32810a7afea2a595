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
    runners: Annotated[
        bool, typer.Option("--runners", help="Instead: all runners at hand, as `runner: auto` compares them.")
    ] = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Instead: thousands of bodies in a call, and a thousand sensors.")
    ] = False,
    load: Annotated[
        bool, typer.Option("--load", help="Instead: 64 sensors, 10 subscribers, one core, and how many more it bears.")
    ] = False,
    rate: Annotated[float, typer.Option(help="--runners: calls a second.", min=0.1)] = 30.0,
    bodies: Annotated[int, typer.Option(help="--runners: bodies in a call.", min=1)] = 2,
    config: Annotated[
        Path | None, typer.Option(help="--runners, --gpu: take `model` from this file.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Measure latency, throughput, memory and start-up of the node, with machine and versions."""
    from . import session

    if runners + gpu + load > 1:
        raise typer.BadParameter("give one of --runners, --gpu and --load")
    chosen = bundles or ["default"]
    if load:
        session.run_load(chosen, out=out, quick=quick)
    elif runners or gpu:
        compared = (rate, bodies) if runners else None
        session.run_runners(chosen, out=out, quick=quick, compared=compared, config=config)
    else:
        session.run_bench(chosen, out=out, skeleton=skeleton, quick=quick)
