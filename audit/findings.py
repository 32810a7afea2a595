"""Linking and inverting as jobs, beside the attacks of `jobs.py`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from skelanon.configs.auditing import AttackerSettings

from .errors import AuditError
from .exam import Indices
from .inversion import invert
from .jobs import Cache, Job, whole
from .linkage import link
from .results import Inversion, Linkage

T = TypeVar("T")
F = TypeVar("F", Linkage, Inversion)

_VERSION = 2
"""Of linking and inverting: a change of either is a new number."""


@dataclass(frozen=True, slots=True)
class LinkageJob:
    """Links persons never seen; see `linkage.py`. release: the release's name; keys, raw: of its draws and of raw."""

    release: str
    keys: tuple[str, ...]
    raw: str
    learn: Indices
    test: Indices
    persons: Indices
    frames: int
    settings: AttackerSettings
    seed: int

    def finished(self, cache: Cache) -> bool:
        """Whether nothing is left to do."""
        return self._file(cache).exists()

    def run(self, cache: Cache) -> None:
        """Do it."""
        if not self.finished(cache):
            raw, *released = (cache.view(key, self.frames) for key in (self.raw, *self.keys))
            found = link(self.release, raw, released, self.learn, self.test, self.persons, self.settings, self.seed)
            _write(self._file(cache), found)

    def found(self, cache: Cache) -> tuple[Linkage, Linkage]:
        """What was found."""
        released, crossed = _read(self._file(cache), tuple[Linkage, Linkage])
        return _named(released, self.release), _named(crossed, self.release)

    def _file(self, cache: Cache) -> Path:
        how = self.settings.model_dump(exclude={"families", "seeds", "sufficient", "device"})
        name = _hash(_VERSION, "link", self.keys, self.raw, self.frames, how, self.seed)
        return cache.folder / "findings" / f"{name}-{_hash_of(self.learn, self.test, self.persons)}.json"


@dataclass(frozen=True, slots=True)
class InversionJob:
    """Inverts a release; see `inversion.py`. reader: the job of an attacker that learns from raw skeletons."""

    release: str
    key: str
    reader: Job
    measured: tuple[bool, ...]

    def finished(self, cache: Cache) -> bool:
        """Whether nothing is left to do."""
        return self._file(cache).exists()

    def run(self, cache: Cache) -> None:
        """Do it; the reader learns first if it has not."""
        if self.finished(cache):
            return
        reader = self.reader
        attacker, _ = cache.learned(reader)
        views = cache.view(reader.learn_on[0], reader.frames), cache.view(self.key, reader.frames)
        found = invert(self.release, *views, reader.exam, attacker.tell, self.measured, reader.settings, reader.seed)
        _write(self._file(cache), found)

    def found(self, cache: Cache) -> Inversion:
        """What was found."""
        return _named(_read(self._file(cache), Inversion), self.release)

    def _file(self, cache: Cache) -> Path:
        tried = _hash_of(self.reader.exam.test)
        name = _hash(_VERSION, "invert", self.key, self.reader.name, self.measured)
        return cache.folder / "findings" / f"{name}-{tried}.json"


def _named(found: F, release: str) -> F:
    """The same finding under the name that the release has now."""
    return msgspec.structs.replace(found, release=release)


def _hash(*values: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()[:32]


def _hash_of(*arrays: Indices) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:8]


def _write(file: Path, found: object) -> None:
    with whole(file) as partial:
        partial.write_bytes(msgspec.json.encode(found))


def _read(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise AuditError(f"{file} is missing or damaged ({type(error).__name__}): run the audit again") from None
