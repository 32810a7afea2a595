"""The importer of the sets that come as npz files."""

import pickle  # noqa: TID251 - workers get importers that way
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.sensors.joints import INDEX, JOINT_NAMES
from skelanon.sensors.lift import KINECT_V1
from skelanon.train.data.importers import create_importer
from skelanon.train.data.importers.importer import ImportedSequence
from skelanon.train.data.importers.npz import KgbdImporter, KinectMultiTrackImporter, UcalgaryGaitImporter
from skelanon.train.errors import DataError

LAYOUT: dict[str, Any] = {
    "joints_i16": np.random.default_rng(0).integers(-9000, 9000, (9, 20, 3), np.int16),
    "scale_m": np.float64(0.0002),
    "start": np.array([0, 4, 9]),
    "kinect25_index": np.array(KINECT_V1),
}
GAIT: dict[str, Any] = LAYOUT | {
    "subject": np.array([7, 8]), "action": np.array([1, 3]), "trial": np.array([1, 2]), "gender": np.array(["F", "M"]),
}  # fmt: skip
BODY: dict[str, Any] = {
    "height_m": np.array([1.61, 1.8]), "weight_kg": np.array([60.0, np.nan]), "age": np.array([np.nan, 30.0])
}  # fmt: skip


def save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def read_all(importer: Any) -> list[ImportedSequence]:
    return [sequence for item in importer.items() for sequence in importer.read(item).sequences]


def test_sequences_are_metres_and_25_joints(tmp_path: Path) -> None:
    importer = create_importer("npz", save(tmp_path / "gait.npz", GAIT))
    first, second = read_all(importer)
    assert (first.joints.shape, second.joints.shape) == ((4, 1, 25, 3), (5, 1, 25, 3))
    head = LAYOUT["joints_i16"][4:, 0] * 0.0002
    assert_allclose(second.joints[:, 0, INDEX["Head"]], head, atol=1e-7)
    there = [name not in ("Neck", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight") for name in JOINT_NAMES]
    assert importer.measured == tuple(there)
    assert_array_equal(second.tracking[2, 0], np.where(there, 2, 0))


def test_which_set_it_is_shows_in_its_labels(tmp_path: Path) -> None:
    gait = create_importer("npz", save(tmp_path / "a.npz", GAIT))
    assert isinstance(gait, UcalgaryGaitImporter)
    assert [sequence.labels for sequence in read_all(gait)] == [
        {"subject": 7, "action": 1, "trial": 1, "gender": 0},
        {"subject": 8, "action": 3, "trial": 2, "gender": 1},
    ]
    assert {gait.names["gender"][code] for code in (0, 1)} == {"female", "male"}
    (tmp_path / "folder").mkdir()
    save(tmp_path / "folder" / "b.npz", GAIT | BODY)
    kgbd = create_importer("npz", tmp_path / "folder")
    assert isinstance(kgbd, KgbdImporter)
    first, second = (sequence.labels for sequence in read_all(pickle.loads(pickle.dumps(kgbd))))  # noqa: S301
    assert (first["height_m"], first["weight_kg"], second["age"]) == (1.61, 60.0, 30.0)
    assert np.isnan([first["age"], second["weight_kg"]]).all()
    assert gait.licence != kgbd.licence


def pairs() -> dict[str, Any]:
    """A person alone, two frames swapped, two of the same time; and a pair, the second seen later and longer."""
    joints = np.arange(1, 1 + 11 * 25 * 3, dtype=np.int16).reshape(11, 25, 3)
    return LAYOUT | {
        "joints_i16": joints,
        "start": np.array([0, 5, 7, 11]),
        "kinect25_index": np.arange(25),
        "subject": np.array([3, 20, 20]),
        "action": np.array([1, 4, 4]),
        "kinect_config": np.array([2, 1, 1]),
        "skeleton_id": np.array([0, 1, 1]),
        "person_in_scene": np.array([0, 0, 1]),
        "timestamps_s": np.array([0.0, 0.2, 0.1, 0.2, 0.3, 0.0, 0.1, 0.1, 0.2, 0.3, 0.4]),
    }


def test_frames_are_in_order_of_time_and_pairs_are_two_bodies_of_a_sequence(tmp_path: Path) -> None:
    arrays = pairs()
    importer = create_importer("npz", save(tmp_path / "pairs.npz", arrays))
    assert isinstance(importer, KinectMultiTrackImporter)
    alone, pair = read_all(importer)
    exact = (arrays["joints_i16"] * 0.0002).astype(np.float32)
    assert_array_equal(alone.joints, exact[[0, 2, 1, 3, 4], None])
    assert alone.labels == {"subject": 3, "action": 1, "setup": 2, "view": 0}
    assert pair.labels == {"subject": 20, "action": 4, "setup": 1, "view": 1}
    nobody = np.zeros((3, 25, 3), np.float32)
    assert_array_equal(pair.joints[:, 0], [*exact[5:7], *nobody])
    assert_array_equal(pair.joints[:, 1], [nobody[0], *exact[7:11]])
    assert_array_equal(pair.tracking[..., 0], [[2, 0], [2, 2], [0, 2], [0, 2], [0, 2]])


def test_a_second_person_must_be_clear(tmp_path: Path) -> None:
    arrays = pairs() | {"person_in_scene": np.array([0, 1, 1])}
    for array in ("subject", "action", "kinect_config", "skeleton_id"):
        arrays[array] = np.ones(3, np.int64)
    importer = create_importer("npz", save(tmp_path / "pairs.npz", arrays))
    with pytest.raises(DataError, match="sequence 0 has 2 second persons"):
        importer.read("0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"subject": None},
            r"has not the labels of any of kinectmultitrack, kgbd, ucalgary_gait, but the arrays action",
        ),
        ({"scale_m": None}, "has no array `scale_m`"),
        ({"start": np.array([0, 4, 8])}, "`start` does not divide the 9 rows"),
        ({"start": np.array([0, 0, 9])}, "`start` does not divide the 9 rows"),
        ({"trial": np.arange(3)}, r"`trial` has the shape \(3,\), not \(2,\)"),
        ({"kinect25_index": np.arange(25)}, "a layout is 25 indices from -1 to 19"),
        ({"gender": np.array(["F", None], object)}, r"cannot be read as an npz file \(ValueError\)"),
    ],
)
def test_other_files_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    arrays = {name: array for name, array in (GAIT | changes).items() if array is not None}
    with pytest.raises(DataError, match=message):
        create_importer("npz", save(tmp_path / "other.npz", arrays))


def test_what_is_no_npz_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 npz files: name one of them"):
        create_importer("npz", tmp_path)
    cut = save(tmp_path / "cut.npz", GAIT)
    cut.write_bytes(cut.read_bytes()[:-200])
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("not a zip file")
    for name in ("cut.npz", "one.npy", "text.npz"):
        with pytest.raises(DataError, match=f"{name} cannot be read as an npz file"):
            create_importer("npz", tmp_path / name)
    with pytest.raises(DataError, match="holds 2 npz files"):
        create_importer("npz", tmp_path)


@pytest.mark.parametrize(("name", "sequences", "persons"), [("kgbd", 821, 164), ("ucalgary_gait", 153, 26)])
def test_real_gait(data: Path, name: str, sequences: int, persons: int) -> None:
    importer = create_importer("npz", data / f"{name}.npz")
    stored = np.load(data / f"{name}.npz")
    assert importer.kind == name
    assert len(importer.items()) == sequences
    labels = [importer.read(item).sequences[0].labels for item in importer.items()]
    assert len({label["subject"] for label in labels}) == persons
    for column in ("subject", "action", "trial"):
        assert_array_equal([label[column] for label in labels], stored[column])
    assert_array_equal([label["gender"] for label in labels], stored["gender"] == "M")
    source = stored["kinect25_index"]
    theirs = stored["joints_i16"][: stored["start"][1]] * stored["scale_m"]
    (first,) = importer.read("0").sequences
    assert_allclose(first.joints[:, 0, source >= 0], theirs[:, source[source >= 0]], atol=1e-6)
    assert importer.measured == tuple((source >= 0).tolist())
    if name == "kgbd":
        genders = {label["subject"]: label["gender"] for label in labels}
        assert (sum(genders.values()), len(genders) - sum(genders.values())) == (112, 52)
        assert_array_equal([label["height_m"] for label in labels], stored["height_m"])


def test_real_pairs_and_persons(data: Path) -> None:
    importer = create_importer("npz", data / "kinectmultitrack.npz")
    stored = np.load(data / "kinectmultitrack.npz")
    found = read_all(importer)
    assert sum(sequence.joints.shape[1] for sequence in found) == 432
    alone = [sequence for sequence in found if sequence.joints.shape[1] == 1]
    pair = [sequence for sequence in found if sequence.joints.shape[1] == 2]
    assert len({sequence.labels["subject"] for sequence in alone}) == 20
    assert {sequence.labels["subject"] for sequence in pair} == set(importer.names["subject"])
    assert len(alone) + len(pair) == len(found) == 396
    assert {sequence.labels["action"] for sequence in pair} == {4, 5, 8}
    bodies = sum(int(sequence.joints.any(axis=(2, 3)).sum()) for sequence in found)
    assert bodies == int(stored["joints_i16"].any(axis=(1, 2)).sum())  # nobody is lost in joining and sorting
    order = np.argsort(stored["timestamps_s"][: stored["start"][1]])
    theirs = (stored["joints_i16"][: stored["start"][1]] * stored["scale_m"])[order]
    assert_allclose(found[0].joints[:, 0], theirs, atol=1e-6)
