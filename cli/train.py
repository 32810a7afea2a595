"""`skelanon train`: runs a training configuration, and shows how far it is."""

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import Exit
from .extras import needing_train

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from skelanon.configs.training import TrainingRun
    from skelanon.train.trainer import Progress


def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a run that comes with skelanon.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: trainer.epochs=5.")
    ] = None,
) -> None:
    """Train a recognizer or an anonymizer, or go on where a run was broken off. Needs the `train` extra."""
    from skelanon.configs.training_loader import load_training_run

    train_shown(load_training_run(config, overrides or ()))


def train_shown(run: "TrainingRun") -> None:
    """Train, showing how far it is, and say what came of it. Nothing happens where it is finished already."""
    with needing_train():
        from skelanon.train.errors import CheckpointError, DataError, TrainingError
        from skelanon.train.trainer import train as train_run
    try:
        with _Display() as display:
            history = train_run(run, display.report)
    except (CheckpointError, DataError, TrainingError) as error:
        if _is_first_process():
            raise
        raise typer.Exit(Exit.USAGE) from error  # the first process says why
    if _is_first_process():
        last = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
        typer.echo(f"{run.out}: {last}")


def _is_first_process() -> bool:
    """Of those that train together; the variable is not set before the first has started the others."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


class _Display:
    """A progress bar on a terminal, else a line for each epoch; starts with the first report."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: tuple[Bar, TaskID] | None = None
        self.used = False

    def __enter__(self) -> "_Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def report(self, progress: "Progress") -> None:
        """Show where the run stands; called in the training thread."""
        if not self.used:
            self._bar = self._start(progress.steps * progress.epochs)
            self.used = True
        shown = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
        if progress.finished:
            self._line(f"epoch {progress.epoch}/{progress.epochs}  {shown}")
        if self._bar:
            bar, task = self._bar
            done = progress.steps * (progress.epoch - 1) + progress.step
            bar.update(task, completed=done, description=f"epoch {progress.epoch}/{progress.epochs}")

    def _start(self, steps: int) -> "tuple[Bar, TaskID] | None":
        from rich.console import Console
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        if not console.is_terminal:
            return None
        bar = self._stack.enter_context(Bar(console=console))
        return bar, bar.add_task("", total=steps)

    def _line(self, text: str) -> None:
        if self._bar:
            self._bar[0].console.print(text, highlight=False)
        else:
            typer.echo(text, err=True)
