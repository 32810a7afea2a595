"""One run of all measurements."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

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
    with _ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="skelanon-bench-") as folder:
        try:
            figures = _measure(QUICK if quick else Plan(), chosen, skeleton, Path(folder), console)
        except KeyboardInterrupt:
            console.print("Stopped; nothing was written.")
            raise typer.Exit(130) from None
    report = Report(machine, quick, tuple(figures))
    console.print(to_table(report))
    if out is not None:
        out.write_bytes(to_json(report))


def _measure(
    plan: Plan, bundles: list[Candidate], skeleton: Path | None, folder: Path, console: Console
) -> list[Figure]:
    note: Callable[[str], None] = lambda text: console.print(f"[dim]{text} ...[/]")  # noqa: E731
    return [
        *measure_paced(plan, bundles, folder, note),
        *measure_flat_out(plan, bundles, folder, note),
        *measure_crowd(plan, bundles, folder, note),
        *measure_start(plan, bundles, folder, note),
        *measure_parsing(plan, skeleton, folder, note),
    ]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does, so that the processes that were started are ended too."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
