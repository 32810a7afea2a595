"""What the command line writes to standard error: the log, and the last words of a command that fails."""

import json
import logging
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from skelanon.configs.schema import LogSettings

HUMAN: Final = "%(asctime)s %(levelname)s %(message)s"

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class HumanFormatter(logging.Formatter):
    """A line for people. Of an exception its places and type, not its words, which may hold a joint or a name."""

    def __init__(self) -> None:
        super().__init__(HUMAN)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - the standard library's name
        return places(ei[1])


class JsonFormatter(HumanFormatter):
    """One JSON object to a line: `time` (UTC), `level`, `logger`, `message`, and `places` where something raised."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["places"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start() -> None:
    """Log for people until settings say otherwise."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    _use(HumanFormatter())


def apply(settings: "LogSettings") -> None:
    """Log as settings say, from now on. Other libraries stay at `info`, or at what is above."""
    _use(JsonFormatter() if settings.format == "json" else HumanFormatter())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.getLogger("skelanon").setLevel(level)
    logging.getLogger().setLevel(max(level, logging.INFO))


def last_words(text: str) -> None:
    """Say why a command ends: like the log where that is JSON, plainly where it is for people.

    Where it cannot be said, on a full disk say, the exit code alone tells.
    """
    if any(type(handler.formatter) is JsonFormatter for handler in logging.getLogger().handlers):
        logging.getLogger("skelanon").critical("%s", text)
    else:
        with suppress(OSError):
            sys.stderr.write(f"{text}\n")


def places(error: BaseException | None) -> str:
    """Where an exception and its causes were raised, and of which types they are, the first cause first."""
    found = ""
    while error is not None:
        found = f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}\n{found}"
        error = error.__cause__
    return found.removesuffix("\n")


def _use(formatter: logging.Formatter) -> None:
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)
