"""One line of the table, and what becomes of a check that fails itself."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["ok", "warn", "missing", "broken"]
Check = Callable[..., Iterator["Line"]]

_FOLDERS: Final = re.compile(r"""(?<![^\s'"(])(/|[A-Za-z]:[/\\])[^\s:]*[/\\]""")


@dataclass(frozen=True, slots=True)
class Line:
    """What one check has found. Holds nothing private: no serial number, no user's name, no content of a key."""

    group: str
    what: str
    state: State
    found: str
    remedy: str = ""
    """What to install or to do, for every state but `ok`."""
    needed: bool = False
    """Whether a node cannot run without it."""

    def __post_init__(self) -> None:
        if self.state != "ok" and not self.remedy:
            raise ValueError(f"{self.what} is {self.state}, and nobody is told what to do")

    @property
    def fatal(self) -> bool:
        """Whether a node cannot run because of it."""
        return self.needed and self.state in ("missing", "broken")


def guarded(group: str, check: Check, *arguments: object, needed: bool = False) -> Iterator[Line]:
    """The lines of a check, and one more where it fails itself.

    needed: whether a node cannot run without what is checked: what could not be looked at counts as absent.
    """
    what = check.__name__.replace("_", " ")
    try:
        yield from check(*arguments)
    except ImportError as error:
        name = (error.name or "a package").partition(".")[0]
        found = (
            f"cannot be checked without {name}" if name != "skelanon" else "skelanon's files are of several versions"
        )
        remedy = "pip install --force-reinstall 'skelanon[cpu]'"
        yield Line(group, what, "missing", found, remedy, needed=needed)
    except Exception as error:  # noqa: BLE001 - one failing check must not take the others with it; words may be private
        found = f"the check itself failed ({type(error).__name__})"
        yield Line(group, what, "broken", found, "please report this, with versions and platform", needed=needed)


def said(error: Exception, otherwise: str) -> tuple[str, str]:
    """What is wrong, and what to do: skelanon's errors say both, parted by a semicolon, or only the first."""
    found, _, remedy = str(error).partition("; ")
    return found, remedy or otherwise


def without_folders(text: str) -> str:
    """Text of another library with files instead of paths, which may hold a user's name."""
    return _FOLDERS.sub("", text)
