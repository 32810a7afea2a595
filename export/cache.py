"""The folder where engines and measurements are kept from start to start; losing it costs nothing but time."""

import os
import sys
from pathlib import Path

from .errors import RunnerError
from .whole_file import write_whole


def cache_folder(setting: str | None) -> Path:
    """The folder that `model.cache` names, or `skelanon` in the user's cache folder; made where it is not there.

    Only its owner may enter a folder that is made here: an engine is code, and whoever can write it can run it.
    """
    folder = Path(setting) if setting is not None else _user_cache() / "skelanon"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunnerError(f"`model.cache`: cannot make the folder: {error.strerror}") from error
    return folder


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache, as a whole. Raises RunnerError."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise RunnerError(f"`model.cache`: cannot write {path.name}: {error.strerror}") from error


def _user_cache() -> Path:
    named = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(named) if named else Path.home() / ".cache"
