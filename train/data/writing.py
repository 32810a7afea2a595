"""Writes the files of a data set, a part of the joints in memory at a time."""

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skelanon.export.whole_file import write_whole
from skelanon.sensors.joints import JOINTS

from .store import LAYOUT_COLUMNS, DatasetInfo

FILES: Final = ("joints.npy", "tracking.npy", "index.npz", "dataset.json")
"""In the order of writing: without the last one, a folder is no data set."""


def write_dataset(
    folder: Path,
    joints: Iterable[NDArray[np.float32]],
    tracking: Iterable[NDArray[np.uint8]],
    columns: Mapping[str, NDArray[Any]],
    **about: Any,
) -> DatasetInfo:
    """Write the four files of a data set into a folder; whatever is missing in `about` follows from the rest.

    joints: parts (R, 25, 3), tracking: parts (R, 25), in the order of `store.py`. columns: `frames`, `bodies` and the
    labels, one entry for each sequence. about: fields of DatasetInfo. Raises OSError.
    """
    rows = columns["frames"] * columns["bodies"]
    columns = {LAYOUT_COLUMNS[0]: np.cumsum(rows) - rows, **columns}
    digest = hashlib.sha256()
    total = int(rows.sum())
    parts: tuple[tuple[str, type[np.generic], tuple[int, ...], Iterable[NDArray[Any]]], ...] = (
        ("joints", np.float32, (total, JOINTS, 3), joints),
        ("tracking", np.uint8, (total, JOINTS), tracking),
    )
    for name, dtype, shape, arrays in parts:
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for array in arrays:
                part = np.ascontiguousarray(array, dtype).data
                digest.update(part)
                file.write(part)
            flush(file)
    for name, values in columns.items():
        digest.update(msgspec.json.encode([name, values.dtype.str]))
        digest.update(values.data)
    write_whole(folder / "index.npz", npz(**columns))
    info = DatasetInfo(kept=len(rows), fingerprint=digest.hexdigest(), **about)
    write_whole(folder / "dataset.json", msgspec.json.format(msgspec.json.encode(info)) + b"\n")
    return info


def npz(**arrays: NDArray[Any]) -> bytes:
    """The content of a `.npz` file."""
    buffer = io.BytesIO()  # a full disk in the middle of a zip file raises anything
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def flush(file: io.BufferedWriter) -> None:
    """To the disk: some file systems say only then that they are full."""
    file.flush()
    os.fsync(file.fileno())
