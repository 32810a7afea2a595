"""From a distribution of recordings to a data set on disk: on all cores, and again from where it was stopped.

Items are read in chunks of a fixed size. Each finished chunk is a shard, OUT/partial/000000.npz and so on; a run that
finds shards does the others. At the end the shards are joined, in order, so that the result does not depend on how many
processes there were or how often it was stopped. `dataset.json` is moved into place last: without it nothing opens.
Before the shards are removed, the data lie on the disk twice.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.joints import JOINTS
from skelanon.train.errors import DataError
from skelanon.train.worker_pool import interrupts_later, worker_pool

from .importers import create_importer
from .importers.importer import ImportedSequence, Importer, Skipped
from .store import FORMAT, DatasetInfo
from .writing import FILES, flush, npz, write_dataset

CHUNK: Final = 64
"""Items in a shard: what a kill can cost, and what a process holds at a time."""
MALFORMED: Final = "malformed"
"""The reason that stands in `skipped` for every item that raised DataError."""

Progress = Callable[[int, int], None]
"""Called in the caller's thread with the number of items done, and of all."""
Columns = dict[str, NDArray[Any]]

logger = logging.getLogger(__name__)


class _Left(msgspec.Struct, frozen=True):
    """What was left out of a chunk."""

    skipped: dict[str, int]
    malformed: list[str]
    """The first malformed item's error."""


@dataclass(frozen=True, slots=True)
class _Task:
    """The chunks of an import, and where their shards lie."""

    importer: Importer
    items: list[str]
    partial: Path

    def chunks(self) -> range:
        return range(-(-len(self.items) // CHUNK))

    def items_of(self, chunk: int) -> list[str]:
        return self.items[chunk * CHUNK : (chunk + 1) * CHUNK]

    def shard(self, chunk: int) -> Path:
        return self.partial / f"{chunk:06}.npz"


def import_dataset(
    kind: str,
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    licence: str | None = None,
    progress: Progress = lambda done, total: None,
) -> DatasetInfo:
    """Import recordings of a kind (`ntu`, `etri`, `utd-mhad`, `npz`) from a folder into a data set in the folder `out`.

    workers: processes, one for each core where None; they are spawned, so a script needs its `__main__` guard.
    licence: of one's own recordings in this format; that of the recordings it is named after where None.
    A malformed item is left out and counted. Stopped at any point, the same call goes on where it was.
    Raises DataError: `out` exists, or holds an unfinished import of other input; no such recordings, or labels
    missing; nothing to keep; `out` cannot be written (a full disk), after which the same call goes on as well.
    """
    folder, out = Path(folder), Path(out)
    if (out / "dataset.json").exists():
        raise DataError(f"{out} exists already: name another folder, or remove it to import again")
    importer = create_importer(kind, folder)
    items = importer.items()
    if not items:
        raise DataError(f"{folder} holds no recordings of the kind {kind}")
    task = _Task(importer, items, out / "partial")
    key = _key(task)
    try:
        _claim(out, task, key)
        _read_all(task, max(workers or os.cpu_count() or 1, 1), progress)
        return _join(task, out, licence or importer.licence)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror}; make room, and run the same import again: "
            "it goes on where it stopped"
        ) from error


def _claim(out: Path, task: _Task, key: str) -> None:
    """Make the folder, or find it left by an import of the same input. Raises DataError for any other content."""
    claim = task.partial / "input"
    if claim.exists():
        if claim.read_text("ascii") != key:
            raise DataError(
                f"{out} holds an unfinished import of other recordings, or of these before they changed: "
                "remove it, or name another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(path != task.partial for path in out.iterdir())):
        raise DataError(f"{out} exists and is no unfinished import: name another folder")
    task.partial.mkdir(parents=True, exist_ok=True)
    _write(claim, key.encode("ascii"))


def _key(task: _Task) -> str:
    """sha256 over kind, items and their sizes, and whatever text files label them."""
    importer = task.importer
    digest = hashlib.sha256(msgspec.json.encode([FORMAT, CHUNK, importer.kind]))
    if importer.folder.is_file():
        digest.update(msgspec.json.encode([task.items, importer.folder.stat().st_size]))
        return digest.hexdigest()
    for item in task.items:
        digest.update(msgspec.json.encode([item, (importer.folder / item).stat().st_size]))
    for path in sorted(importer.folder.rglob("*.txt")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_all(task: _Task, workers: int, progress: Progress) -> None:
    """Write all shards that are not there yet."""
    waiting = [chunk for chunk in task.chunks() if not task.shard(chunk).exists()]
    total = len(task.items)
    done = total - sum(len(task.items_of(chunk)) for chunk in waiting)
    progress(done, total)
    with contextlib.closing(_finished(task, waiting, min(workers, len(waiting)))) as finished:
        for chunk in finished:
            done += len(task.items_of(chunk))
            progress(done, total)


def _finished(task: _Task, waiting: Sequence[int], workers: int) -> Generator[int, None, None]:
    """Chunks as their shards are written; by this process alone where one is enough."""
    if workers <= 1:
        for chunk in waiting:
            _write_shard(task.importer, task.items_of(chunk), task.shard(chunk))
            yield chunk
        return
    with worker_pool(workers, _start_worker, task.importer) as pool:
        try:
            with interrupts_later():
                futures: dict[Future[None], int] = {
                    pool.submit(_work, task.items_of(chunk), task.shard(chunk)): chunk for chunk in waiting
                }
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise DataError(
                "a process was ended from outside, maybe for want of memory: run the same import again, "
                "with fewer workers; it goes on where it stopped"
            ) from error


_importer: Importer
"""Of a worker process."""


def _start_worker(importer: Importer) -> None:
    global _importer
    _importer = importer


def _work(items: Sequence[str], shard: Path) -> None:
    _write_shard(_importer, items, shard)


def _write_shard(importer: Importer, items: Sequence[str], shard: Path) -> None:
    sequences: list[ImportedSequence] = []
    skipped: Counter[str] = Counter()
    malformed: list[str] = []
    for item in items:
        try:
            contents = importer.read(item)
        except Skipped as reason:
            skipped[str(reason)] += 1
        except DataError as error:
            skipped[MALFORMED] += 1
            malformed = malformed or [str(error)]
        else:
            sequences += contents.sequences
            skipped.update(contents.skipped)
    left = np.frombuffer(msgspec.json.encode(_Left(skipped, malformed)), np.uint8)
    joints = [sequence.joints.reshape(-1, JOINTS, 3) for sequence in sequences]
    tracking = [sequence.tracking.reshape(-1, JOINTS) for sequence in sequences]
    columns = {f"column_{name}": values for name, values in _columns(importer, sequences).items()}
    no_joints, no_tracking = np.empty((0, JOINTS, 3), np.float32), np.empty((0, JOINTS), np.uint8)
    _write(
        shard,
        npz(
            joints=np.concatenate([no_joints, *joints]),
            tracking=np.concatenate([no_tracking, *tracking]),
            left=left,
            **columns,
        ),
    )


def _columns(importer: Importer, sequences: Sequence[ImportedSequence]) -> Columns:
    columns: Columns = {
        "frames": np.array([sequence.joints.shape[0] for sequence in sequences], np.int64),
        "bodies": np.array([sequence.joints.shape[1] for sequence in sequences], np.int64),
    }
    for name, kind in importer.columns.items():
        values = [sequence.labels[name] for sequence in sequences]
        columns[name] = np.array(values, np.int64 if kind == "int" else np.float64)
    return columns


def _join(task: _Task, out: Path, licence: str) -> DatasetInfo:
    """Join the shards into the files of a data set, one shard in memory at a time. Raises DataError, OSError."""
    columns, left = _index(task)
    skipped: Counter[str] = Counter()
    for one in left:
        skipped.update(one.skipped)
    malformed = [error for one in left for error in one.malformed]
    if not len(columns["frames"]):
        shutil.rmtree(task.partial)
        with contextlib.suppress(OSError):  # not if there is more in it
            out.rmdir()
        first = f"; the first malformed one: {malformed[0]}" if malformed else ""
        raise DataError(f"nothing to keep of {len(task.items)} recordings: {dict(sorted(skipped.items()))}{first}")
    for error in malformed[:5]:
        logger.warning("left out: %s", error)

    importer = task.importer
    info = write_dataset(
        task.partial,
        (_shard(task, chunk, "joints") for chunk in task.chunks()),
        (_shard(task, chunk, "tracking") for chunk in task.chunks()),
        columns,
        kind=importer.kind,
        licence=licence,
        rate_hz=importer.rate_hz,
        measured=importer.measured,
        names={label: dict(values) for label, values in importer.names.items()},
        skipped=dict(sorted(skipped.items())),
    )
    for name in FILES:
        (task.partial / name).replace(out / name)
    shutil.rmtree(task.partial)
    return info


def _index(task: _Task) -> tuple[Columns, list[_Left]]:
    """The index's columns, and what was left out of each chunk."""
    names = ("frames", "bodies", *task.importer.columns)
    parts: list[Columns] = []
    left: list[_Left] = []
    for chunk in task.chunks():
        parts.append({name: _shard(task, chunk, f"column_{name}") for name in names})
        left.append(msgspec.json.decode(_shard(task, chunk, "left").tobytes(), type=_Left))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}, left


def _shard(task: _Task, chunk: int, name: str) -> NDArray[Any]:
    """One array of a shard. Raises DataError where it is damaged, as after a power failure."""
    try:
        with task.shard(chunk).open("rb") as opened, np.load(opened, allow_pickle=False) as shard:
            array: NDArray[Any] = shard[name]
            return array
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{task.shard(chunk)} is damaged: remove it, and run the same import again") from error


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    partial = path.with_suffix(".tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            flush(file)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
