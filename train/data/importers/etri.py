"""ETRI-Activity3D: 55 daily actions by 100 persons, half of them elderly, seen by Kinect v2 sensors.

Files `A<action>_P<person>_G<trial>_C<camera>.csv` in folders of any depth, a row for each body in each frame, and one
`gender_age.txt`; `sensors/recordings/etri_csv.py` says what is in them.
Source: J. Jang et al., "ETRI-Activity3D: a large-scale RGB-D dataset for robots to recognize daily activities of the
elderly", IROS 2020.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from skelanon.sensors.errors import SensorError
from skelanon.sensors.recording import read_file
from skelanon.sensors.recordings import etri_csv
from skelanon.train.errors import DataError

from .importer import Contents, Importer, LabelType, Skipped, sequence_of

GENDER_AGE: Final = "gender_age.txt"
TWO_PERSON_ACTIONS: Final = frozenset(range(44, 49))
"""Dropped, as the paper does: with two persons the private label is that of only one of them."""

FEMALE, MALE = 0, 1
_GENDERS: Final = {"f": FEMALE, "female": FEMALE, "2": FEMALE, "m": MALE, "male": MALE, "1": MALE}

_NAME: Final = re.compile(r"A(\d{1,4})_P(\d{1,4})_G(\d{1,4})_C(\d{1,4})\.csv", re.ASCII | re.IGNORECASE)
_PERSON: Final = re.compile(r"[Pp]?(\d{1,6})", re.ASCII)


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
    names: Mapping[str, Mapping[int, str]] = {"gender": {FEMALE: "female", MALE: "male"}}

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
            recording = etri_csv.parse(read_file(path))
        except SensorError as error:
            raise DataError(f"{item}: {error}") from None
        labels = {"action": action, "subject": person, "trial": trial, "view": view, "gender": gender, "age": age}
        return Contents([sequence_of(recording, labels)])

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
