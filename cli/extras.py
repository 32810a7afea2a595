"""What commands say when an extra is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def needing_train() -> Iterator[None]:
    """Around imports that need the `train` extra: where it is missing, the error names the line that installs it."""
    try:
        yield
    except ImportError as error:
        raise typer.BadParameter(f"{error.name} is not installed: pip install 'skelanon[train]'") from error
