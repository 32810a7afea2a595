"""`skelanon audit`: what published skeletons still give away."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import Exit
from .extras import needing_train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skelanon.audit import Audit


def audit(
    data: Annotated[Path, typer.Option(help="Folder of a data set that `skelanon dataset import` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the report; finished attacks are kept below it.")],
    releases: Annotated[
        list[str] | None,
        typer.Argument(help="Bundles (.onnx), released skeletons (.npz), `template`, `noise=0.05` (metres)."),
    ] = None,
    profile: Annotated[str, typer.Option(help="How hard attackers try: quick, or full.")] = "quick",
    config: Annotated[Path | None, typer.Option(help="YAML file, or name, of what is to be told.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: frames=64.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one for each core where absent.")] = None,
    stamp: Annotated[
        bool, typer.Option("--stamp", help="Write the bundles to OUT/bundles, the verdict in their manifests.")
    ] = False,
) -> None:
    """Publish a data set, and let attackers who learn from what was published tell who is who. Raw is always attacked.

    Exit codes: 0 the audit stands, 3 its attackers were too weak to say anything, 2 wrong usage.
    """
    run_audit(data, releases or ["template"], out, profile, config, overrides or [], workers, stamp)


def run_audit(
    data: Path,
    releases: "Sequence[str]",
    out: Path,
    profile: str,
    config: Path | None,
    overrides: "Sequence[str]",
    workers: int | None,
    stamp: bool = False,
) -> None:
    """Audit, write the report, say what was found. Raises typer.Exit with code 3 where attackers were too weak."""
    from skelanon.configs.auditing_loader import load_audit_settings

    with needing_train():
        from skelanon import audit as audits
        from skelanon.audit.report import write_report
        from skelanon.train.data.store import SkeletonDataset

    dataset = SkeletonDataset(data)
    settings = load_audit_settings(str(data), dataset.info.kind, profile, config, overrides)
    processes = workers or os.cpu_count() or 1
    with _Display() as display:
        auditor = audits.Auditor(settings, releases, out / "cache", display.report)
        waiting = len(auditor.waiting())
        if waiting:
            minutes = auditor.seconds() / processes / 60
            display.say(
                f"{waiting} attacks to do, about {minutes:.0f} min on {processes} cores; Ctrl-C keeps what is done"
            )
        found = auditor.run(processes)
    page = write_report(found, out)
    typer.echo(as_text(found))
    typer.echo(f"{page}")
    if found.failed:
        raise typer.Exit(Exit.NO)
    for path in audits.stamp(found, dataset, out / "bundles") if stamp else ():
        typer.echo(f"{path}")


def as_text(audit: "Audit") -> str:
    """The verdict as plain lines."""
    if audit.failed:
        return "\n".join(["This audit says nothing of privacy:", *(f"  {reason}" for reason in audit.failed)])
    lines = []
    tasks = {task.name: task for task in audit.tasks}
    for finding in sorted(audit.findings, key=lambda one: (one.task, one.release == "raw")):
        task = tasks[finding.task]
        low, high = finding.interval
        guess = f"guessing {task.prior:.3f}" if task.classes else "R2; guessing 0"
        told = f"{finding.score:.3f} ({low:.3f} to {high:.3f}) by {finding.family}"
        lines.append(f"{finding.task:<28} {finding.release:<24} {told}; {guess}")
    return "\n".join(lines)


class _Display:
    """A bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, TaskID

        self._console = Console(stderr=True)
        self._bar = Progress(console=self._console, disable=not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, what: str, done: int, total: int) -> None:
        """Show how much of something is done."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done)
        if self._bar.disable and done == total:
            self.say(f"{what}: {total}")

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(text, highlight=False)
