"""Tells kinds of recordings apart by how they begin, whatever they are called, and reads each with its reader."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skelanon.sensors import ntu
from skelanon.sensors.errors import RecordingError, SensorError
from skelanon.sensors.recording import MAX_BYTES, Recording, read_file

from . import azure_csv, etri_csv, k4abt_json, kinect_csv, matlab, utd_mhad

HEAD: Final = 4096
"""Bytes at the beginning of a file that tell its kind."""
MCAP_MAGIC: Final = b"\x89MCAP0\r\n"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of recordings."""

    name: str
    """What people call it."""
    looks_like: Callable[[bytes], bool]
    """Whether a file that begins so is of this kind."""
    parse: Callable[[bytes], Recording] | None
    """Its reader; None: recorded behind a node, and nothing for a sensor."""
    largest: int = MAX_BYTES
    """Bytes of the largest file that is read."""


KINDS: Final = (
    Kind("NTU RGB+D `.skeleton`", ntu.looks_like, ntu.parse_skeleton),
    Kind("ETRI-Activity3D CSV", etri_csv.looks_like, etri_csv.parse),
    Kind("Azure Kinect CSV", azure_csv.looks_like, azure_csv.parse),
    Kind("Azure Kinect JSON (k4abt_offline_processor)", k4abt_json.looks_like, k4abt_json.parse, k4abt_json.MAX_BYTES),
    Kind("Kinect v2 CSV", kinect_csv.looks_like, kinect_csv.parse),
    Kind("UTD-MHAD `.mat`", matlab.looks_like, utd_mhad.parse),
    Kind("skelanon MCAP", lambda head: head.startswith(MCAP_MAGIC), None),
)


def kind_of(head: bytes) -> Kind | None:
    """The kind of a recording whose first HEAD bytes these are; None where it is of none that is known."""
    return next((kind for kind in KINDS if kind.looks_like(head)), None)


def kind_of_file(path: Path) -> Kind | None:
    """The kind of a file. Raises OSError, which names it."""
    with path.open("rb") as file:
        return kind_of(file.read(HEAD))


def read_recording(path: Path) -> Recording:
    """Read a file of any kind. Raises SensorError when it cannot be read, RecordingError when it is malformed."""
    try:
        kind = kind_of_file(path)
    except OSError as error:
        reason = error.strerror
    else:
        if kind is None:
            raise RecordingError("the recording is of no known kind")
        if kind.parse is None:
            raise RecordingError("it was recorded behind a node and is anonymous already: `skelanon play` plays it")
        return kind.parse(read_file(path, kind.largest))
    # Raised out here, so that the OSError, which holds the file name, does not hang on to it.
    raise SensorError(f"the recording cannot be read: {reason}")


def recording_files(folder: Path) -> list[Path]:
    """The recordings of a folder, of whatever kinds, in the order of their names. Raises OSError.

    Left out, and counted in the log, are files of no known kind and those in lists of missing skeletons. A file that
    cannot be opened counts as a recording, and so does a `.skeleton` file of no known kind: it fails when it is due.
    """
    missing = ntu.missing_skeletons(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = [path for path in files if _is_recording(path)]
    kept = [path for path in found if path.stem not in missing]
    if len(found) < len(files):
        logger.info("%d of %d files left out: of no known kind of recordings", len(files) - len(found), len(files))
    if len(kept) < len(found):
        logger.info("%d of %d recordings skipped: listed as missing skeletons", len(found) - len(kept), len(found))
    return kept


def _is_recording(path: Path) -> bool:
    try:
        return path.suffix.lower() == ".skeleton" or kind_of_file(path) is not None
    except OSError:
        return True
