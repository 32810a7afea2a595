"""UTD-MHAD's importer: which joint goes where, labels, axes, and what it refuses; the real set where it is there."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("scipy", reason="needs skelanon[train]")

from scipy.io import savemat  # type: ignore[import-untyped]

from skelanon.sensors.joints import INDEX, JOINT_NAMES
from skelanon.train.data.importers.utd_mhad import UtdMhadImporter
from skelanon.train.errors import DataError

NAME = "a3_s2_t4_skeleton.mat"
FILLED = {"Neck", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"}
MAT_VERSION_5_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def folder_of(tmp_path: Path, *names: str) -> Path:
    """A folder of recordings: coordinate c of joint j in frame t is 100 c + j + t / 10 + 1."""
    c, j, t = np.meshgrid(np.arange(3), np.arange(20), np.arange(5), indexing="xy")
    for name in names:
        savemat(tmp_path / name, {"d_skel": 100.0 * c + j + t / 10 + 1})
    return tmp_path


def test_joints_go_where_they_belong_and_filled_ones_are_not_tracked(tmp_path: Path) -> None:
    importer = UtdMhadImporter(folder_of(tmp_path, NAME))
    (sequence,) = importer.read(NAME).sequences
    assert sequence.joints.shape == (5, 1, 25, 3)
    assert sequence.joints.dtype == np.float32
    for name, theirs in {"Head": 0, "SpineShoulder": 1, "SpineMid": 2, "SpineBase": 3, "FootRight": 19}.items():
        expected = [[100 * c + theirs + t / 10 + 1 for c in range(3)] for t in range(5)]
        np.testing.assert_allclose(sequence.joints[:, 0, INDEX[name]], expected, rtol=1e-6)
    assert {name for name, there in zip(JOINT_NAMES, importer.measured, strict=True) if not there} == FILLED
    assert sequence.tracking.shape == (5, 1, 25)
    assert sequence.tracking.dtype == np.uint8
    assert sequence.tracking[4, 0].tolist() == [0 if name in FILLED else 2 for name in JOINT_NAMES]
    assert sequence.labels == {"action": 3, "subject": 2, "trial": 4}
    assert importer.names["action"][3] == "right hand wave"


def test_items_are_in_the_order_of_their_numbers_and_other_files_are_none(tmp_path: Path) -> None:
    names = ["a2_s1_t1_skeleton.mat", "a2_s10_t1_skeleton.mat", "a10_s1_t1_skeleton.mat"]
    folder = folder_of(tmp_path, *reversed(names), "a1_s1_t1_inertial.mat")
    assert UtdMhadImporter(folder).items() == names


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no UTD-MHAD recordings"):
        UtdMhadImporter(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        UtdMhadImporter(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"skeleton": np.zeros((20, 3, 5))}, "no variable `d_skel`"),
        ({"d_skel": np.zeros((25, 3, 5))}, r"\(25, 3, 5\) float64; it must be \(20, 3, frames\)"),
        ({"d_skel": np.zeros((20, 3, 0))}, r"it must be \(20, 3, frames\)"),
        ({"d_skel": np.full((20, 3, 5), "x")}, r"it must be \(20, 3, frames\) of floats"),
        ({"d_skel": np.full((20, 3, 5), np.nan)}, "not finite"),
    ],
)
def test_a_file_with_something_else_is_refused(
    tmp_path: Path, variables: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], words: str
) -> None:
    savemat(tmp_path / NAME, variables)
    with pytest.raises(DataError, match=words):
        UtdMhadImporter(tmp_path).read(NAME)


@pytest.mark.parametrize("data", [b"", b"no MATLAB file", MAT_VERSION_5_HEADER + b"\x0f\0\0\0\xff\0\0\0rubbish"])
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(DataError, match=f"{NAME}"):
        UtdMhadImporter(tmp_path).read(NAME)


def test_the_real_set_has_all_its_sequences_in_camera_axes(data: Path) -> None:
    importer = UtdMhadImporter(data / "utd_mhad")
    items = importer.items()
    assert len(items) == 861  # 8 persons, 27 actions, 4 trials, but for three
    sequences = [importer.read(item).sequences[0] for item in items]
    for column, count in {"action": 27, "subject": 8, "trial": 4}.items():
        assert {sequence.labels[column] for sequence in sequences} == set(range(1, count + 1))
    for sequence in sequences:
        left, right, head, root, toes, ankles = (
            sequence.joints[:, 0, [INDEX[name] for name in names]].mean(axis=1)
            for names in (
                ["ShoulderLeft"], ["ShoulderRight"], ["Head"], ["SpineBase"],
                ["FootLeft", "FootRight"], ["AnkleLeft", "AnkleRight"],
            )
        )  # fmt: skip
        assert (left[:, 0] < right[:, 0]).all()  # they face the sensor
        assert head[:, 1].mean() > root[:, 1].mean() + 0.3
        assert toes[:, 2].mean() < ankles[:, 2].mean()
        assert (root[:, 2] > 2).all()
        if sequence.labels["action"] == 3:  # right hand wave: left is left
            moved = sequence.joints[:, 0, [INDEX["HandLeft"], INDEX["HandRight"]]].std(axis=0).sum(axis=-1)
            assert moved[1] > 3 * moved[0]
