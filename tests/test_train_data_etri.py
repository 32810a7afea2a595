"""ETRI-Activity3D's importer: columns by name, bodies, labels, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.train.data.importers.etri import EtriImporter
from skelanon.train.data.importers.importer import ImportedSequence, Skipped
from skelanon.train.errors import DataError

NAME = "A001_P007_G002_C003.csv"
TITLES = ["frameNum", "bodyindexID", *[f"joint{j}_3d{axis}" for j in range(1, 26) for axis in "XYZ"]]

Change = Callable[[list[list[str]]], None]


def coordinate(frame: int, body: int, joint: int, axis: int) -> float:
    """Of frame and body by number, joint from 0 to 24."""
    return frame + body / 8 + joint / 32 + axis / 128


def table(*places: tuple[int, int], joints: int = 25) -> list[list[str]]:
    """Header and a row for each (frame, body)."""
    rows = [TITLES[: 2 + 3 * joints]]
    for frame, body in places:
        values = [coordinate(frame, body, joint, axis) for joint in range(joints) for axis in range(3)]
        rows.append([str(frame), str(body), *map(str, values)])
    return rows


def write(folder: Path, rows: list[list[str]], name: str = NAME, persons: str = "P007, F, 71\n") -> Path:
    (folder / "gender_age.txt").write_text(persons, encoding="utf-8")
    path = folder / "elders" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")
    return folder


def imported(folder: Path) -> ImportedSequence:
    importer = EtriImporter(folder)
    (item,) = importer.items()
    (sequence,) = importer.read(item).sequences
    return sequence


def test_bodies_come_by_first_appearance_and_are_zero_where_they_are_not(tmp_path: Path) -> None:
    sequence = imported(write(tmp_path, table((3, 5), (4, 5), (4, 2), (6, 2))))  # nobody in frame 5
    assert sequence.joints.shape == (3, 2, 25, 3)
    assert sequence.joints.dtype == np.float32
    assert sequence.joints.any(axis=(2, 3)).tolist() == [[True, False], [True, True], [False, True]]
    assert sequence.joints[1, 0, 24, 2] == coordinate(4, 5, 24, 2)
    assert sequence.joints[2, 1, 7, 1] == coordinate(6, 2, 7, 1)
    assert sequence.tracking.dtype == np.uint8
    assert sequence.tracking[..., 0].tolist() == [[2, 0], [2, 2], [0, 2]]  # no states: tracked where it is
    assert sequence.labels == {"action": 1, "subject": 7, "trial": 2, "view": 3, "gender": 0, "age": 71.0}
    assert EtriImporter.names["gender"] == {0: "female", 1: "male"}


def test_columns_are_found_by_name_and_others_passed_over(tmp_path: Path) -> None:
    rows = table((0, 0), (1, 0))
    rows[0] += [f"joint{j}_trackingState" for j in range(1, 26)] + ["joint1_depthX", "note"]
    for row in rows[1:]:
        row += [str(j % 3) for j in range(1, 26)] + ["", "not a number"]
    shuffled = np.random.default_rng(0).permutation(len(rows[0]))
    sequence = imported(write(tmp_path, [[row[i] for i in shuffled] for row in rows]))
    expected = [[coordinate(1, 0, joint, axis) for axis in range(3)] for joint in range(25)]
    assert sequence.joints[1, 0].tolist() == expected
    assert sequence.tracking[0, 0].tolist() == [j % 3 for j in range(1, 26)]


def test_a_file_from_windows_is_read_too(tmp_path: Path) -> None:
    folder = write(tmp_path, [[title.upper() for title in TITLES], *table((0, 0))[1:]], name=NAME.lower())
    for path in (folder / "elders" / NAME.lower(), folder / "gender_age.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert imported(folder).joints.shape == (1, 1, 25, 3)


def test_body_ids_are_exact(tmp_path: Path) -> None:
    rows = table((0, 0), (0, 1))
    rows[1][1], rows[2][1] = str(2**53), str(2**53 + 1)
    assert imported(write(tmp_path, rows)).joints.shape[1] == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("P007, F, 71", (0, 71.0)),
        ("7\tmale\t24", (1, 24.0)),
        ("P7;M;71.5", (1, 71.5)),
        ("person gender age\n007 Female 80", (0, 80.0)),
        ("\n007 , 1 ,80\n\n", (1, 80.0)),
        ("007 2 80\n007 2 80", (0, 80.0)),
    ],
)
def test_gender_and_age_are_read_in_many_forms(tmp_path: Path, line: str, expected: tuple[int, float]) -> None:
    labels = imported(write(tmp_path, table((0, 0)), persons=line)).labels
    assert (labels["gender"], labels["age"]) == expected


@pytest.mark.parametrize(
    ("persons", "words"),
    [
        ("P001, F, 71", "person P007 is not in gender_age.txt: add a line `P007, gender, age`"),
        ("P007, F", "line 1: a person, a gender and an age must stand here"),
        ("P007, F, 71, x", "line 1: a person, a gender and an age must stand here"),
        ("P001, M, 30\nP007, X, 71", "line 2: 'X' is no gender known here: write F or M"),
        ("P007, 0, 71", "line 1: '0' is no gender"),
        ("P007, F, old", "line 1: 'old' is no age"),
        ("P007, F, -1", "line 1: '-1' is no age"),
        ("P007, F, 71\n7, M, 71", "line 2: person P007 stands there twice, and differs"),
    ],
)
def test_a_person_whose_labels_are_unknown_is_an_error(tmp_path: Path, persons: str, words: str) -> None:
    folder = write(tmp_path, table((0, 0)), persons=persons)
    with pytest.raises(DataError) as caught:
        EtriImporter(folder).items()
    assert words in str(caught.value)


def test_gender_age_must_be_there_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 0 files gender_age\.txt"):
        EtriImporter(tmp_path)
    write(tmp_path, table((0, 0)))
    (tmp_path / "elders" / "Gender_Age.txt").write_text("P007 M 20")
    with pytest.raises(DataError, match=r"holds 2 files gender_age\.txt"):
        EtriImporter(tmp_path)


def test_a_folder_without_recordings_or_with_one_twice_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, table((0, 0)), name="A001_P007.csv")
    with pytest.raises(DataError, match="holds no ETRI-Activity3D recordings"):
        EtriImporter(folder).items()
    for copy in ("one", "two"):
        (tmp_path / copy).mkdir()
        write(tmp_path, table((0, 0)), name=f"../{copy}/{NAME}")
    with pytest.raises(DataError, match=r"one/\S+ and two/\S+ are the same recording: remove one"):
        EtriImporter(folder).items()


@pytest.mark.parametrize("action", [44, 48])
def test_actions_of_two_persons_are_left_out_without_a_look(tmp_path: Path, action: int) -> None:
    importer = EtriImporter(write(tmp_path, [["rubbish"]], name=f"A{action:03}_P100_G001_C001.csv"))
    (item,) = importer.items()
    with pytest.raises(Skipped, match=r"^action of two persons$"):
        importer.read(item)


@pytest.mark.parametrize("action", [43, 49])
def test_the_actions_beside_them_are_kept(tmp_path: Path, action: int) -> None:
    sequence = imported(write(tmp_path, table((0, 0)), name=f"A{action:03}_P007_G001_C001.csv"))
    assert sequence.labels["action"] == action


def test_a_recording_of_nobody_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match=r"^no bodies$"):
        imported(write(tmp_path, table()))


def cell(row: int, column: str, text: str) -> Change:
    return lambda rows: rows[row - 1].__setitem__(rows[0].index(column), text)


def drop(row: int) -> Change:
    return lambda rows: rows[row - 1].__delitem__(-1)


def more_states(count: int, state: str = "2") -> Change:
    def change(rows: list[list[str]]) -> None:
        for i, row in enumerate(rows):
            row += [f"joint{j}_trackingState" if i == 0 else state for j in range(1, count + 1)]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(3), "row 3 has 76 columns, the header has 77"),
        (lambda rows: rows[3].append("0"), "row 4 has 78 columns, the header has 77"),
        (lambda rows: rows.insert(2, [""]), "row 3 has 1 columns"),
        (cell(2, "joint25_3dZ", "abc"), "row 2, column `joint25_3dZ`: a number must stand here"),
        (cell(4, "joint1_3dX", ""), "row 4, column `joint1_3dX`: a number must stand here"),
        (cell(3, "joint9_3dY", "nan"), "row 3, column `joint9_3dY`: a number must stand here"),
        (cell(3, "joint9_3dY", "1e39"), "row 3, column `joint9_3dY`: a number must stand here"),
        (cell(2, "frameNum", "first"), "row 2, column `frameNum`: a whole number must stand here"),
        (cell(3, "bodyindexID", "nan"), "row 3, column `bodyindexID`: a whole number must stand here"),
        (cell(3, "frameNum", "0"), "row 3: this body is in the frame already"),
        (cell(1, "frameNum", "number"), "no column `frameNum`"),
        (cell(1, "bodyindexID", "body"), "no column `bodyindexID`"),
        (cell(1, "joint3_3dY", "joint3_3dX"), "names a column twice"),
        (cell(1, "joint25_3dZ", "joint26_3dZ"), "26 joints; all of joint1_3dX to joint25_3dZ must be there"),
        (more_states(24), "tracking states of 24 joints; it must be all 25, or none"),
        (more_states(25, "3"), "row 2, column `joint1_trackingState`: 0, 1 or 2 must stand here"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(tmp_path: Path, change: Change, words: str) -> None:
    rows = table((0, 0), (1, 0), (2, 0))
    rows[0] = list(rows[0])
    change(rows)
    with pytest.raises(DataError) as caught:
        imported(write(tmp_path, rows))
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"elders/{NAME}: ")


@pytest.mark.parametrize("joints", [20, 24])
def test_a_file_with_another_number_of_joints_is_refused(tmp_path: Path, joints: int) -> None:
    with pytest.raises(DataError, match=f"has {joints} joints; all of joint1_3dX to joint25_3dZ must be there"):
        imported(write(tmp_path, table((0, 0), joints=joints)))


def test_a_crowd_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="65 bodies; a recording has at most 64"):
        imported(write(tmp_path, table(*[(0, body) for body in range(65)])))
