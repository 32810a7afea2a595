"""ETRI-Activity3D: 55 daily actions by 100 persons, half of them elderly, seen by Kinect v2 sensors.

Files `A<action>_P<person>_G<trial>_C<camera>.csv` in folders of any depth, a row for each body in each frame, and one
`gender_age.txt`. Columns are found by name: `frameNum`, `bodyindexID`, `joint1_3dX` to `joint25_3dZ` (Kinect v2's
joint order, metres, camera axes) and, where there are such, `joint1_trackingState` to `joint25_trackingState`.
Source: J. Jang et al., "ETRI-Activity3D: a large-scale RGB-D dataset for robots to recognize daily activities of the
elderly", IROS 2020.
"""

import re
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import MAX_BODIES, TRACKED
from skelanon.sensors.joints import JOINTS
from skelanon.train.errors import DataError

from .importer import Contents, ImportedSequence, Importer, LabelType, Skipped

GENDER_AGE: Final = "gender_age.txt"
TWO_PERSON_ACTIONS: Final = frozenset(range(44, 49))
"""Dropped, as the paper does: with two persons the private label is that of only one of them."""

FEMALE, MALE = 0, 1
_LARGEST: Final = 1e6
"""Metres; also keeps out what is not finite."""
_GENDERS: Final = {"f": FEMALE, "female": FEMALE, "2": FEMALE, "m": MALE, "male": MALE, "1": MALE}

_NAME: Final = re.compile(r"A(\d{1,4})_P(\d{1,4})_G(\d{1,4})_C(\d{1,4})\.csv", re.ASCII | re.IGNORECASE)
_PERSON: Final = re.compile(r"[Pp]?(\d{1,6})", re.ASCII)
_COORDINATE: Final = re.compile(r"joint(\d{1,3})_3d([xyz])", re.ASCII)
_STATE: Final = re.compile(r"joint(\d{1,3})_tracking_?state", re.ASCII)


class EtriImporter(Importer):
    """Reads ETRI-Activity3D's CSV files; an item is a file. Labels have the numbers of the file names.

    A sequence has the frames that have rows, by `frameNum`. Where there are no tracking states, all joints are tracked.
    `gender_age.txt` has a line `person, gender, age` for each person, separated by commas, semicolons or blanks; a
    gender is F, female or 2, or M, male or 1, in any case; a first line of titles is passed over.
    """

    kind: ClassVar[str] = "etri"
    licence: ClassVar[str] = "ETRI-Activity3D: for research, by agreement with ETRI, no redistribution"
    rate_hz: ClassVar[float] = 30.0
    columns: ClassVar[dict[str, LabelType]] = {
        "action": "int", "subject": "int", "trial": "int", "view": "int", "gender": "int", "age": "float",
    }  # fmt: skip
    names: ClassVar[dict[str, dict[int, str]]] = {"gender": {FEMALE: "female", MALE: "male"}}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        found = [path for path in folder.rglob("*.txt") if path.name.lower() == GENDER_AGE]
        if len(found) != 1:
            raise DataError(
                f"{folder} holds {len(found)} files {GENDER_AGE}, there must be one: "
                "the folder of ETRI-Activity3D with the person, gender and age of everybody"
            )
        self._persons = _read_persons(found[0])

    def items(self) -> list[str]:
        """Paths below the folder, sorted. Raises DataError: none, one twice, a person without gender and age."""
        paths = sorted(path for path in self.folder.rglob("*.[cC][sS][vV]") if _NAME.fullmatch(path.name))
        if not paths:
            raise DataError(f"{self.folder} holds no ETRI-Activity3D recordings (A001_P001_G001_C001.csv, ...)")
        seen: dict[tuple[int, ...], Path] = {}
        for path in paths:
            item = path.relative_to(self.folder)
            action, person, *_ = numbers = _numbers(path.name)
            if numbers in seen:
                raise DataError(f"{seen[numbers]} and {item} are the same recording: remove one")
            seen[numbers] = item
            if action not in TWO_PERSON_ACTIONS:
                self._gender_age(person)
        return [item.as_posix() for item in seen.values()]

    def read(self, item: str) -> Contents:
        """The one sequence of a file. Raises Skipped (action of two persons, nobody in it), DataError."""
        path = self.folder / item
        action, person, trial, view = _numbers(path.name)
        if action in TWO_PERSON_ACTIONS:
            raise Skipped("action of two persons")
        gender, age = self._gender_age(person)
        try:
            joints, tracking = _parse(path.read_bytes())
        except OSError as error:
            raise DataError(f"{item} cannot be read: {error.strerror}") from error
        except DataError as error:
            raise DataError(f"{item}: {error}") from None
        labels = {"action": action, "subject": person, "trial": trial, "view": view, "gender": gender, "age": age}
        return Contents([ImportedSequence(joints, tracking, labels)])

    def _gender_age(self, person: int) -> tuple[int, float]:
        if person not in self._persons:
            raise DataError(f"person P{person:03} is not in {GENDER_AGE}: add a line `P{person:03}, gender, age`")
        return self._persons[person]


def _numbers(name: str) -> tuple[int, int, int, int]:
    """Action, person, trial and camera of a file name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(f"{name} is no name of an ETRI-Activity3D recording, like A001_P001_G001_C001.csv")
    action, person, trial, view = map(int, match.groups())
    return action, person, trial, view


def _read_persons(path: Path) -> dict[int, tuple[int, float]]:
    """Gender and age of each person."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__})") from error
    persons: dict[int, tuple[int, float]] = {}
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split(r"[,;\s]+", line) if word]
        if not words or (number == 1 and not any(map(str.isdigit, line))):  # a blank line, or titles
            continue
        person, gender_age = _person(words, f"{GENDER_AGE}, line {number}")
        if persons.setdefault(person, gender_age) != gender_age:
            raise DataError(f"{GENDER_AGE}, line {number}: person P{person:03} stands there twice, and differs")
    return persons


def _person(words: list[str], where: str) -> tuple[int, tuple[int, float]]:
    match = _PERSON.fullmatch(words[0])
    if match is None or len(words) != 3:
        raise DataError(f"{where}: a person, a gender and an age must stand here, like `P001, F, 71`")
    _, gender, age = words
    if gender.lower() not in _GENDERS:
        raise DataError(f"{where}: {gender!r} is no gender known here: write F or M")
    if not re.fullmatch(r"\d{1,3}(\.\d*)?", age, re.ASCII):
        raise DataError(f"{where}: {age!r} is no age in years")
    return int(match[1]), (_GENDERS[gender.lower()], float(age))


def _parse(data: bytes) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Joints (T, M, 25, 3) and tracking states (T, M, 25) of a file's content. The header is row 1."""
    header, *rows = data.removeprefix(b"\xef\xbb\xbf").splitlines() or [b""]
    while rows and not rows[-1].strip():
        rows.pop()
    titles = [title.strip().strip('"') for title in header.decode("latin-1").split(",")]
    keys, coordinates, states = _columns(titles)
    if not rows:
        raise Skipped("no bodies")
    for number, row in enumerate(rows, 2):
        if row.count(b",") + 1 != len(titles):
            raise DataError(f"row {number} has {row.count(b',') + 1} columns, the header has {len(titles)}")
    values = _values(rows, titles, [*coordinates, *states])  # (R, 75 or 100)
    frame, body = _places(rows, titles, keys)  # (R,), (R,)

    joints = np.zeros((frame.max() + 1, body.max() + 1, JOINTS, 3), np.float32)
    tracking = np.zeros(joints.shape[:3], np.uint8)
    joints[frame, body] = values[:, : 3 * JOINTS].reshape(-1, JOINTS, 3)
    tracking[frame, body] = values[:, 3 * JOINTS :] if states else TRACKED
    return joints, tracking


def _columns(titles: list[str]) -> tuple[tuple[int, int], list[int], list[int]]:
    """Where frame and body, the 75 coordinates joint by joint, and the 25 tracking states (or none) stand."""
    titles = [title.lower() for title in titles]
    place = {title: column for column, title in enumerate(titles)}
    if len(place) < len(titles):
        raise DataError("the header (row 1) names a column twice")
    missing = [name for name in ("frameNum", "bodyindexID") if name.lower() not in place]
    if missing:
        raise DataError(f"the header (row 1) has no column `{missing[0]}`")
    coordinates = {(int(m[1]), m[2]): place[t] for t in titles if (m := _COORDINATE.fullmatch(t))}
    wanted = [(joint, axis) for joint in range(1, JOINTS + 1) for axis in "xyz"]
    if sorted(coordinates) != wanted:
        found = len({joint for joint, _ in coordinates})
        raise DataError(f"the header (row 1) has {found} joints; all of joint1_3dX to joint{JOINTS}_3dZ must be there")
    states = {int(m[1]): place[t] for t in titles if (m := _STATE.fullmatch(t))}
    if states and sorted(states) != list(range(1, JOINTS + 1)):
        raise DataError(
            f"the header (row 1) has tracking states of {len(states)} joints; it must be all {JOINTS}, or none"
        )
    return (
        (place["framenum"], place["bodyindexid"]),
        [coordinates[key] for key in wanted],
        [states[joint] for joint in sorted(states)],
    )


def _values(rows: list[bytes], titles: list[str], columns: list[int]) -> NDArray[np.float32]:
    """(R, len(columns)) float32, all of them finite, those beyond the coordinates 0, 1 or 2."""
    try:
        values = np.loadtxt(
            rows, np.float64, comments=None, delimiter=",", usecols=columns, ndmin=2, encoding="latin-1"
        )
    except ValueError:
        pass  # its words quote the recording
    else:
        good = np.abs(values) < _LARGEST
        good[:, 3 * JOINTS :] = np.isin(values[:, 3 * JOINTS :], (0, 1, 2))
        if len(values) == len(rows) and good.all():
            return values.astype(np.float32)
    raise DataError(_first_bad(rows, titles, columns))


def _first_bad(rows: list[bytes], titles: list[str], columns: list[int]) -> str:
    """Words about the first cell that `_values` does not accept, without what stands in it."""
    for number, row in enumerate(rows, 2):
        cells = row.split(b",")
        for i, column in enumerate(columns):
            expected = "a number" if i < 3 * JOINTS else "0, 1 or 2"
            try:
                value = float(cells[column])
            except ValueError:
                value = np.nan
            if not (abs(value) < _LARGEST if i < 3 * JOINTS else value in (0, 1, 2)):
                return f"row {number}, column `{titles[column]}`: {expected} must stand here"
    return "its rows are malformed"


def _places(rows: list[bytes], titles: list[str], keys: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Frame (by `frameNum`) and body (by first appearance) of each row, (R,) each, from 0."""
    frames, bodies = ([_whole(row, number, column, titles) for number, row in enumerate(rows, 2)] for column in keys)
    frame_of = {frame: i for i, frame in enumerate(sorted(set(frames)))}
    body_of = {body: i for i, body in enumerate(dict.fromkeys(bodies))}
    if len(body_of) > MAX_BODIES:
        raise DataError(f"{len(body_of)} bodies; a recording has at most {MAX_BODIES}")
    seen: set[tuple[int, int]] = set()
    for number, key in enumerate(zip(frames, bodies, strict=True), 2):
        if key in seen:
            raise DataError(f"row {number}: this body is in the frame already")
        seen.add(key)
    return np.array([frame_of[frame] for frame in frames]), np.array([body_of[body] for body in bodies])


def _whole(row: bytes, number: int, column: int, titles: list[str]) -> int:
    """A frame's or a body's number; exact, for body ids may be above 2**53."""
    cell = row.split(b",", column + 1)[column].strip()
    try:
        return int(cell) if cell.isdigit() else int(float(cell))
    except (ValueError, OverflowError):
        raise DataError(f"row {number}, column `{titles[column]}`: a whole number must stand here") from None
