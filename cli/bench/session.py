"""One run of all measurements."""

from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console

from .crowd import measure_crowd
from .figures import Figure, Report, to_json, to_table
from .latency import measure_paced
from .machine import this_machine
from .parsing import measure_parsing
from .plan import QUICK, Candidate, Plan, candidates
from .startup import measure_start
from .throughput import measure_flat_out
from .workplace import Workplace

CALM_LOAD = 1.0
WIDTH = 120
"""Of the table where it does not go to a terminal."""


def run_bench(bundles: list[str], *, out: Path | None, skeleton: Path | None, quick: bool) -> None:
    """Measure, show the table, write the JSON. Exit code 130 after Ctrl-C; no process that was started outlives it."""
    chosen = candidates(bundles)
    machine = this_machine()
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if machine.load_average and machine.load_average[0] > CALM_LOAD:
        console.print(f"[yellow]The machine is busy (load {machine.load_average[0]:.2f}): expect worse figures.[/]")
    try:
        with Workplace() as work:
            figures = _measure(QUICK if quick else Plan(), chosen, skeleton, work, console)
    except KeyboardInterrupt:
        console.print("Stopped; nothing was written.")
        raise typer.Exit(130) from None
    report = Report(machine, quick, tuple(figures))
    console.print(to_table(report))
    if out is not None:
        out.write_bytes(to_json(report))


def _measure(
    plan: Plan, bundles: list[Candidate], skeleton: Path | None, work: Workplace, console: Console
) -> list[Figure]:
    def note(text: str) -> None:
        console.print(f"[dim]{text} ...[/]")

    measure: tuple[Callable[..., list[Figure]], ...] = (measure_paced, measure_flat_out, measure_crowd, measure_start)
    figures = [figure for part in measure for figure in part(plan, bundles, work, note)]
    return [*figures, *measure_parsing(plan, skeleton, work, note)]
