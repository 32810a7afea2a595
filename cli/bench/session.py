"""One run of all measurements."""

from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from skelanon.cli.exits import Exit

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
Note = Callable[[str], None]
WIDTH = 120
"""Of the table where it does not go to a terminal."""


def run_bench(bundles: list[str], *, out: Path | None, skeleton: Path | None, quick: bool) -> None:
    """Measure, show the table, write the JSON. Exit code 130 after Ctrl-C; no process that was started outlives it."""
    chosen = candidates(bundles)
    _report(out, quick, lambda work, note: _measure(QUICK if quick else Plan(), chosen, skeleton, work, note))


def run_runners(
    bundles: list[str], *, out: Path | None, quick: bool, compared: tuple[float, int] | None, config: Path | None
) -> None:
    """The same for runners; compared: at so many calls a second, of so many bodies. None: what they can do at most."""
    from skelanon.configs import load_settings
    from skelanon.configs.schema import ModelSettings

    from .gpu import SMALL, Scale, measure_gpu
    from .runners import compare_runners

    chosen = candidates(bundles)
    settings = load_settings(config, []).model if config is not None else ModelSettings()

    def measure(_: Workplace, note: Note) -> list[Figure]:
        if compared is None:
            return measure_gpu(chosen, [], SMALL if quick else Scale(), settings, note)
        rate_hz, bodies = compared
        budget_s = 0.3 if quick else 5.0
        return compare_runners(chosen, settings, rate_hz=rate_hz, bodies=bodies, budget_s=budget_s, note=note)

    _report(out, quick, measure)


def run_load(bundles: list[str], *, out: Path | None, quick: bool) -> None:
    """The same for one core under load."""
    from . import load

    chosen, asked = candidates(bundles), load.QUICK if quick else load.Load()
    _report(out, quick, lambda work, note: load.measure_load(asked, chosen, work, note))


def _report(out: Path | None, quick: bool, measure: Callable[[Workplace, Note], list[Figure]]) -> None:
    machine = this_machine()
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if machine.load_average and machine.load_average[0] > CALM_LOAD:
        console.print(f"[yellow]The machine is busy (load {machine.load_average[0]:.2f}): expect worse figures.[/]")
    try:
        with Workplace() as work:
            figures = measure(work, lambda text: console.print(f"[dim]{escape(text)} ...[/]"))
    except KeyboardInterrupt:
        console.print("Stopped; nothing was written.")
        raise typer.Exit(Exit.INTERRUPTED) from None
    report = Report(machine, quick, tuple(figures))
    console.print(to_table(report))
    if out is not None:
        out.write_bytes(to_json(report))


def _measure(plan: Plan, bundles: list[Candidate], skeleton: Path | None, work: Workplace, note: Note) -> list[Figure]:
    measure: tuple[Callable[..., list[Figure]], ...] = (measure_paced, measure_flat_out, measure_crowd, measure_start)
    figures = [figure for part in measure for figure in part(plan, bundles, work, note)]
    return [*figures, *measure_parsing(plan, skeleton, work, note)]
