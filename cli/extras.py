"""What commands say when an extra is not installed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import typer


def needing_train() -> AbstractContextManager[None]:
    """Around imports that need the `train` extra: where it is missing, the error names the line that installs it."""
    return _needing("train")


def needing_view() -> AbstractContextManager[None]:
    """The same for the `view` extra."""
    return _needing("view")


@contextmanager
def _needing(extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise typer.BadParameter(f"{error.name} is not installed: pip install 'skelanon[{extra}]'") from error
