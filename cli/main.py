"""The front door: `skelanon COMMAND`. Each command imports what it needs when it is called."""

import logging
import sys
import threading
import traceback
from types import TracebackType

import typer

from . import bench, keys, offline, run, watch

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables: raw joints
    help="Anonymize skeletons of depth sensors in real time, and publish only anonymous ones.",
)
for name, command, panel in (
    ("demo", run.demo, "Stream"),
    ("run", run.run, "Stream"),
    ("replay", run.replay, "Stream"),
    ("subscribe", watch.subscribe, "Stream"),
    ("bench", bench.bench, "Stream"),
    ("export", offline.export, "Offline"),
    ("inspect", offline.inspect, "Offline"),
):
    app.command(name, rich_help_panel=panel)(command)
app.add_typer(keys.app, name="keys", rich_help_panel="Stream")

log = logging.getLogger("skelanon")


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed while running, 2 wrong usage, settings or bundle."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    sys.excepthook = _report_crash
    threading.excepthook = lambda args: _report_crash(args.exc_type, args.exc_value, args.exc_traceback)
    try:
        app()
    except (ValueError, RuntimeError) as error:
        if not _is_ours(error):
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def _is_ours(error: BaseException) -> bool:
    """Whether skelanon raised it, in words made for the user."""
    return type(error).__module__.startswith("skelanon.")


def _report_crash(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Say where and what, but not in the error's own words: another library's might hold a joint or a name."""
    if issubclass(kind, KeyboardInterrupt):
        return
    cause = error.__cause__ if error is not None else None
    places = "".join(traceback.format_tb(trace))
    if cause is not None:
        places = f"{''.join(traceback.format_tb(cause.__traceback__))}{type(cause).__name__}, and then:\n{places}"
    sys.stderr.write(f"skelanon has failed; please report this:\n{places}{kind.__name__}\n")


if __name__ == "__main__":
    main()
