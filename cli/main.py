"""The front door: `skelanon COMMAND`. Each command imports what it needs when it is called."""

import os
import sys
import threading

import typer

from . import (
    audit,
    bench,
    capture,
    dataset,
    doctor,
    evaluate,
    figure,
    keys,
    logs,
    offline,
    proxy,
    record,
    run,
    status,
    sweep,
    train,
    view,
    watch,
)
from .bench import inference, training
from .exits import Exit, code_of

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
    ("capture", capture.capture, "Stream"),
    ("subscribe", watch.subscribe, "Stream"),
    ("proxy", proxy.proxy, "Stream"),
    ("status", status.status, "Stream"),
    ("view", view.view, "Stream"),
    ("record", record.record, "Stream"),
    ("play", record.play, "Stream"),
    ("convert", record.convert, "Stream"),
    ("bench", bench.bench, "Stream"),
    ("doctor", doctor.doctor, "Stream"),
    ("train", train.train, "Offline"),
    ("evaluate", evaluate.evaluate, "Offline"),
    ("audit", audit.audit, "Offline"),
    ("sweep", sweep.sweep, "Offline"),
    ("bench-training", training.bench_training, "Offline"),
    ("bench-inference", inference.bench_inference, "Offline"),
    ("export", offline.export, "Offline"),
    ("inspect", offline.inspect, "Offline"),
):
    app.command(name, rich_help_panel=panel)(command)
app.add_typer(keys.app, name="keys", rich_help_panel="Stream")
app.add_typer(dataset.app, name="dataset", rich_help_panel="Offline")
app.add_typer(figure.app, name="figure", rich_help_panel="Offline")


def main() -> None:
    """Run the command line. Its exit codes are those of `Exit`."""
    _forbid_core_dumps()
    logs.start()
    threading.excepthook = _end_with_thread
    try:
        app()
    except Exception as error:  # noqa: BLE001 - not left to Python, nor to typer's hook, which show its words
        if _is_ours(error):
            logs.last_words(f"error: {error}")
            sys.exit(code_of(error))
        _report_crash(error)
        sys.exit(Exit.INTERNAL)


def _forbid_core_dumps() -> None:
    """A dump of the process's memory would hold raw joints. Posix only; debuggers are the operator's own business."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _is_ours(error: Exception) -> bool:
    """Whether skelanon raised it, in words made for the user."""
    return type(error).__module__.startswith("skelanon.")


def _report_crash(error: BaseException | None) -> None:
    """Say where and what, but not in the error's own words: another library's might hold a joint or a name."""
    logs.last_words(f"skelanon has failed; please report this:\n{logs.places(error)}")


def _end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """End the process when a thread fails: half a node would look like a whole one."""
    _report_crash(failed.exc_value)
    sys.stderr.flush()
    os._exit(Exit.INTERNAL)


if __name__ == "__main__":
    main()
