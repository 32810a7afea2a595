"""Every `skelanon` command in the documentation is one that the command line takes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from skelanon.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Lines of code blocks, fenced or indented, that call skelanon; `...` stands for more of the same."""
    text = re.sub(r"\\\n\s*", "", page.read_text("utf-8"))
    fenced = "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL))
    found = re.findall(r"^(?:venv/bin/)?(skelanon [a-z].*)$", fenced, re.MULTILINE)
    found += re.findall(r"^ {4}(skelanon [a-z].*)$", text, re.MULTILINE)
    return [line.split("#")[0].replace("/...", "/x").replace(" ...", "").strip() for line in found]


CASES = [(page.name, line) for page in PAGES for line in commands(page)]


def parse(line: str) -> None:
    """Parse as the command line would, and run nothing. Raises what typer makes of wrong usage."""
    group = typer.main.get_command(app)
    _disarm(group)
    try:
        group.main(shlex.split(line)[1:], standalone_mode=False)
    except Exception as error:
        if "does not exist" not in str(error):  # the reader's own file
            raise


def _disarm(command: Any) -> None:
    for inner in getattr(command, "commands", {}).values():
        _disarm(inner)
    if not hasattr(command, "commands"):
        command.callback = lambda **_: None


@pytest.mark.parametrize(("page", "line"), CASES, ids=[f"{page}: {line}" for page, line in CASES])
def test_a_command_of_the_documentation_is_understood(page: str, line: str) -> None:
    parse(line)


def test_what_is_not_understood_is_found() -> None:
    assert len(CASES) > 25
    for line, reason in (
        ("skelanon nothing", "No such command"),
        ("skelanon audit --no-such-option", "No such option"),
        ("skelanon audit template --data x", "Missing parameter: out"),
    ):
        with pytest.raises(Exception, match=reason):
            parse(line)
