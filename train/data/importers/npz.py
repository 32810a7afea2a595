"""Three sets of recordings that come as one npz file each: two of gait, and one of tasks seen by two sensors.

Such a file holds `joints_i16` (R, J, 3), `scale_m` (their product: metres, y up), `start` (N + 1: the first row of each
sequence), `kinect25_index` (see `lift`) and an array of N entries for each label. Which set it is shows in its arrays.
"""

import functools
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.errors import RecordingError
from skelanon.sensors.joints import JOINTS
from skelanon.sensors.lift import lift, measured, states
from skelanon.train.data.store import UNKNOWN
from skelanon.train.errors import DataError

from .importer import Contents, ImportedSequence, Importer, LabelType

Arrays = dict[str, NDArray[Any]]

_CODES: Final = {"F": 0, "M": 1}
_LAYOUT: Final = ("joints_i16", "scale_m", "start", "kinect25_index")


class NpzImporter(Importer):
    """Reads one npz file; an item is the number of a sequence in it. See `open_npz`."""

    arrays: ClassVar[dict[str, str]]
    """For each column, the file's array that it comes from: numbers, or F and M."""
    rate_hz: ClassVar[float] = 30.0

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        stored = _load(file)
        sequences = len(stored["start"]) - 1
        for array in self.arrays.values():
            if stored[array].shape != (sequences,):
                raise DataError(f"{file}: `{array}` has the shape {stored[array].shape}, not ({sequences},)")
        self.measured = measured(stored["kinect25_index"].tolist())
        _joints(stored, 0)

    def items(self) -> list[str]:
        """Numbers of the sequences."""
        return [str(i) for i in range(len(_load(self.folder)["start"]) - 1)]

    def read(self, item: str) -> Contents:
        """One sequence of one body."""
        stored, i = _load(self.folder), int(item)
        return Contents([self._sequence(_joints(stored, i)[:, None], i)])

    def _sequence(self, joints: NDArray[np.float32], i: int) -> ImportedSequence:
        stored = _load(self.folder)
        labels = {column: _value(stored[array][i]) for column, array in self.arrays.items()}
        return ImportedSequence(joints, states(joints, self.measured), labels)


class KgbdImporter(NpzImporter):
    """Kinect Gait Biometry Dataset (Andersson and Araujo, AAAI 2015): Kinect v1, persons who walk in a semicircle."""

    kind: ClassVar[str] = "kgbd"
    licence: ClassVar[str] = "Kinect Gait Biometry Dataset: as is, cite Andersson and Araujo 2015"
    columns: ClassVar[dict[str, LabelType]] = {
        "subject": "int", "action": "int", "trial": "int", "gender": "int",
        "height_m": "float", "weight_kg": "float", "age": "float",
    }  # fmt: skip
    names: Mapping[str, Mapping[int, str]] = {"action": {1: "walk"}, "gender": {0: "female", 1: "male"}}
    arrays: ClassVar[dict[str, str]] = {column: column for column in columns}


class UcalgaryGaitImporter(NpzImporter):
    """UCalgary gait: Kinect v2, walking to the sensor, normally and as if one leg were injured."""

    kind: ClassVar[str] = "ucalgary_gait"
    licence: ClassVar[str] = "UCalgary gait: for research, cite"
    columns: ClassVar[dict[str, LabelType]] = {"subject": "int", "action": "int", "trial": "int", "gender": "int"}
    names: Mapping[str, Mapping[int, str]] = {
        "action": {1: "normal gait", 2: "abnormal right", 3: "abnormal left"},
        "gender": {0: "female", 1: "male"},
    }
    arrays: ClassVar[dict[str, str]] = {column: column for column in columns}


class KinectMultiTrackImporter(NpzImporter):
    """KinectMultiTrack: Kinect v2, two sensors at once, persons alone and six pairs of persons.

    The file has frames in the order of arrival, some of them swapped; here they are in the order of their timestamps.
    The two persons of a pair are two sequences there; here they are two bodies of one. Which person a pair's are is
    not known: `subject` 20 and up is a pair. `view` is the sensor, `setup` how the two sensors stood.
    """

    kind: ClassVar[str] = "kinectmultitrack"
    licence: ClassVar[str] = "MIT"
    columns: ClassVar[dict[str, LabelType]] = {"subject": "int", "action": "int", "setup": "int", "view": "int"}
    names: Mapping[str, Mapping[int, str]] = {
        "subject": {20 + pair: f"pair {pair + 1}" for pair in range(6)},
        "action": {
            1: "stationary", 2: "steps", 3: "walk square and diagonals", 4: "interaction, first walks",
            5: "interaction, exchange places", 6: "obstacle", 7: "free", 8: "interaction, second walks",
        },
    }  # fmt: skip
    arrays: ClassVar[dict[str, str]] = {
        "subject": "subject", "action": "action", "setup": "kinect_config", "view": "skeleton_id",
    }  # fmt: skip

    def items(self) -> list[str]:
        """Numbers of the sequences of first persons."""
        return [str(i) for i in np.flatnonzero(_load(self.folder)["person_in_scene"] == 0)]

    def read(self, item: str) -> Contents:
        """One sequence, of two bodies for a pair. Raises DataError where the second person cannot be told."""
        stored, first = _load(self.folder), int(item)
        persons = [first, *self._second(stored, first)]
        times = [stored["timestamps_s"][_rows(stored, person)] for person in persons]
        if len(persons) == 1:  # a few of its frames share a timestamp
            return Contents([self._sequence(_joints(stored, first)[np.argsort(times[0], kind="stable"), None], first)])
        instants = np.unique(np.concatenate(times))  # (T,), ascending
        joints = np.zeros((len(instants), len(persons), JOINTS, 3), np.float32)
        for body, (person, time) in enumerate(zip(persons, times, strict=True)):
            joints[np.searchsorted(instants, time), body] = _joints(stored, person)
        return Contents([self._sequence(joints, first)])

    def _second(self, stored: Arrays, first: int) -> list[int]:
        """The number of the second person's sequence, if there is a second."""
        same = stored["person_in_scene"] == 1
        for array in self.arrays.values():
            same &= stored[array] == stored[array][first]
        found: list[int] = np.flatnonzero(same).tolist()
        if len(found) > 1:
            raise DataError(f"sequence {first} has {len(found)} second persons")
        return found


_SETS: Final[tuple[tuple[type[NpzImporter], set[str]], ...]] = (
    (KinectMultiTrackImporter, {"person_in_scene", "timestamps_s"}),
    (KgbdImporter, set()),
    (UcalgaryGaitImporter, set()),
)


def open_npz(path: Path) -> NpzImporter:
    """The importer of an npz file, or of the only one in a folder. Raises DataError: not one file, none of the sets."""
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if len(files) != 1:
        raise DataError(f"{path} holds {len(files)} npz files: name one of them")
    stored = _load(files[0])
    for importer, more in _SETS:
        if stored.keys() >= {*importer.arrays.values(), *more}:
            return importer(files[0])
    kinds = ", ".join(importer.kind for importer, _ in _SETS)
    raise DataError(f"{files[0]} has not the labels of any of {kinds}, but the arrays {', '.join(sorted(stored))}")


@functools.lru_cache(maxsize=1)
def _load(file: Path) -> Arrays:
    """All arrays of a file, once for each process. Raises DataError."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            stored: Arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file} cannot be read as an npz file ({type(error).__name__})") from error
    absent = [name for name in _LAYOUT if name not in stored]
    if absent:
        raise DataError(f"{file} has no array `{absent[0]}`: is it a set of skeletons?")
    joints, start = stored["joints_i16"], stored["start"]
    if joints.ndim != 3 or start.ndim != 1 or len(start) < 2 or start[-1] != len(joints) or (np.diff(start) < 1).any():
        raise DataError(f"{file}: `start` does not divide the {len(joints)} rows of `joints_i16` into sequences")
    return stored


def _rows(stored: Arrays, i: int) -> slice:
    return slice(int(stored["start"][i]), int(stored["start"][i + 1]))


def _joints(stored: Arrays, i: int) -> NDArray[np.float32]:
    """(T, 25, 3) metres, camera axes."""
    exact = stored["joints_i16"][_rows(stored, i)] * stored["scale_m"]  # (T, J, 3) float64
    try:
        return lift(exact, stored["kinect25_index"].tolist())
    except RecordingError as error:
        raise DataError(f"`kinect25_index`: {error}") from None


def _value(label: Any) -> float:
    return _CODES.get(label, UNKNOWN) if isinstance(label, str) else float(label)
