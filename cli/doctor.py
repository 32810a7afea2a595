"""`skelanon doctor`: one table of what this machine can do, and what to do about the rest."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from .exits import Exit

if TYPE_CHECKING:
    from rich.table import Table

    from .checks.line import Line

JSON_FORMAT: Final = 1
"""Version of what `--json` writes; new keys do not change it."""


def doctor(
    config: Annotated[
        str | None, typer.Option(help="Also check what this YAML file asks for.", metavar="FILE", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what this machine can do, and what to install for the rest. Exit code 0 if a node can run, else 3."""
    from .checks.plan import examine

    lines = list(examine(config))
    fatal = sum(line.fatal for line in lines)
    if as_json:
        import json
        from dataclasses import asdict

        about = {"format": JSON_FORMAT, "ready": not fatal, "lines": [asdict(line) for line in lines]}
        typer.echo(json.dumps(about, indent=2))
    else:
        from rich.console import Console

        console = Console()
        console.print(_table(lines))
        console.print()
        verdict = "the node of this configuration" if config is not None else "a node"
        if fatal:
            console.print(f"{verdict} cannot run here: {fatal} {'lines' if fatal > 1 else 'line'} in red", style="red")
        else:
            console.print(f"{verdict} can run here", style="green")
    raise typer.Exit(Exit.NO if fatal else Exit.OK)


def _table(lines: "list[Line]") -> "Table":
    """Red: a node cannot run because of it. Yellow: something else cannot be done."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            table.add_row("", Text(group, style="bold"))
        style = "green" if line.state == "ok" else "red" if line.fatal else "yellow"
        table.add_row(Text(line.state, style=style), *(Text(_plain(t)) for t in (line.what, line.found, line.remedy)))
    return table


def _plain(text: str) -> str:
    """Nothing that steers a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
