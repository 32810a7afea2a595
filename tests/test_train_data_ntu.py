"""The importer of NTU RGB+D: names, lists, and bodies out of tracker ids."""

import pickle  # noqa: TID251 - workers get importers that way
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.ntu import read_skeleton, skeleton_files
from skelanon.sensors.skeleton_writer import write_skeleton
from skelanon.train.data.importers import create_importer
from skelanon.train.data.importers.importer import ImportedSequence, Importer, Skipped
from skelanon.train.data.importers.ntu import NtuImporter
from skelanon.train.errors import DataError

MakeFrame = Callable[..., BodyFrame]
NAME = "S001C002P003R004A005"
FIRST = 72057594037931101
"""An id as Kinect makes them: as float64 it would be the same as its neighbour."""


def only(importer: Importer) -> ImportedSequence:
    """The one sequence of the one item."""
    (item,) = importer.items()
    contents = importer.read(item)
    (sequence,) = contents.sequences
    assert contents.skipped == {}
    return sequence


def test_labels_are_the_numbers_of_the_name(body_frame: MakeFrame, tmp_path: Path) -> None:
    write_skeleton(tmp_path / f"{NAME}.skeleton", [body_frame(1)])
    importer = create_importer("ntu", tmp_path)
    assert only(importer).labels == {"setup": 1, "view": 2, "subject": 3, "trial": 4, "action": 5}
    assert list(importer.columns) == ["setup", "view", "subject", "trial", "action"]
    assert importer.measured == (True,) * 25


def test_files_are_found_at_any_depth_and_in_any_case(body_frame: MakeFrame, tmp_path: Path) -> None:
    for name in ("nturgb+d_skeletons/S001C001P001R001A001.skeleton", "S018C001P041R001A061.SKELETON", "x/readme.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_skeleton(path, [body_frame(1)])
    importer = NtuImporter(tmp_path)
    assert importer.items() == ["S018C001P041R001A061.SKELETON", "nturgb+d_skeletons/S001C001P001R001A001.skeleton"]
    assert [importer.read(item).sequences[0].labels["setup"] for item in importer.items()] == [18, 1]


def test_bodies_are_ids_in_order_of_first_appearance(body_frame: MakeFrame, tmp_path: Path) -> None:
    frames = [body_frame(), body_frame(FIRST + 1), body_frame(FIRST, FIRST + 1, captured_ns=1), body_frame(FIRST)]
    write_skeleton(tmp_path / f"{NAME}.skeleton", frames)
    sequence = only(NtuImporter(tmp_path))
    assert sequence.joints.shape == (4, 2, 25, 3)
    assert sequence.joints.dtype == np.float32
    assert sequence.tracking.dtype == np.uint8
    nobody = np.zeros((25, 3), np.float32)
    for frame, (first, second) in enumerate(
        [
            (nobody, nobody),
            (frames[1].joints[0], nobody),
            (frames[2].joints[1], frames[2].joints[0]),
            (nobody, frames[3].joints[0]),
        ]
    ):
        assert_array_equal(sequence.joints[frame], [first, second])
    assert_array_equal(sequence.tracking[..., 0], [[0, 0], [2, 0], [2, 2], [0, 2]])


def test_of_many_ghosts_the_six_longest_are_kept(body_frame: MakeFrame, tmp_path: Path) -> None:
    frames = [body_frame(1), body_frame(2, 3, 4, 5, 6, 7, captured_ns=1), body_frame(3, 4, 5, 6, 7, 8, captured_ns=2)]
    write_skeleton(tmp_path / f"{NAME}.skeleton", frames)  # 3 to 7 are there twice; of 1, 2 and 8, 1 came first
    sequence = only(NtuImporter(tmp_path))
    assert sequence.joints.shape == (3, 6, 25, 3)
    assert_array_equal(sequence.joints[0, 0], frames[0].joints[0])
    assert_array_equal(sequence.joints[1, 1:], frames[1].joints[1:])
    assert_array_equal(sequence.joints[2, 1:], frames[2].joints[:5])


def test_a_body_that_is_not_finite_is_not_there(body_frame: MakeFrame, tmp_path: Path) -> None:
    frames = [body_frame(1), body_frame(2, 1, captured_ns=1)]
    frames[1].joints[:, 7, 1] = np.nan, np.inf
    write_skeleton(tmp_path / f"{NAME}.skeleton", frames)
    sequence = only(NtuImporter(tmp_path))
    assert_array_equal(sequence.joints[:, 0], [frames[0].joints[0], np.zeros((25, 3))])
    assert not sequence.tracking[1].any()


def test_what_is_no_recording_of_a_person_is_skipped_with_its_reason(body_frame: MakeFrame, tmp_path: Path) -> None:
    lost, empty, zeros = ("S001C001P001R001A001", "S001C001P001R001A002", "S001C001P001R001A003")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text(f"title\n\n{lost}\n")
    write_skeleton(tmp_path / f"{lost}.skeleton", [body_frame(1)])
    write_skeleton(tmp_path / f"{empty}.skeleton", [body_frame(), body_frame()])
    nobody = body_frame(1)
    nobody.joints[:] = 0
    write_skeleton(tmp_path / f"{zeros}.skeleton", [nobody])
    write_skeleton(tmp_path / f"._{lost}.skeleton", [body_frame(1)])
    importer = NtuImporter(tmp_path)
    reasons = {}
    for item in importer.items():
        with pytest.raises(Skipped) as skipped:
            importer.read(item)
        reasons[item.removesuffix(".skeleton")] = str(skipped.value)
    assert reasons == {
        lost: "listed as missing skeletons",
        empty: "no bodies",
        zeros: "no bodies",
        f"._{lost}": "name of no sample",
    }


def test_a_malformed_file_is_named_with_its_line(body_frame: MakeFrame, tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.skeleton"
    write_skeleton(path, [body_frame(1)])
    path.write_text(path.read_text()[:-40])
    importer = NtuImporter(tmp_path)
    with pytest.raises(DataError, match=rf"{NAME}\.skeleton: line 29"):
        importer.read(*importer.items())


def test_other_folders_are_refused(body_frame: MakeFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no NTU RGB"):
        NtuImporter(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        NtuImporter(tmp_path / "none")
    (tmp_path / "again").mkdir()
    for path in (tmp_path / f"{NAME}.skeleton", tmp_path / "again" / f"{NAME.lower()}.skeleton"):
        write_skeleton(path, [body_frame(1)])
    with pytest.raises(DataError, match=rf"{NAME}\.skeleton and again/.* are the same sample: remove one \(2 files"):
        NtuImporter(tmp_path)


def test_it_can_be_sent_to_another_process(body_frame: MakeFrame, tmp_path: Path) -> None:
    write_skeleton(tmp_path / f"{NAME}.skeleton", [body_frame(1)])
    sent = pickle.loads(pickle.dumps(NtuImporter(tmp_path)))  # noqa: S301
    assert only(sent).labels["subject"] == 3


def test_real_recordings_are_imported_body_by_body(data: Path) -> None:
    importer = create_importer("ntu", data / "ntu")
    sequences = {item: importer.read(item).sequences[0] for item in importer.items()}
    assert len(sequences) == 10
    assert len({sequence.labels["subject"] for sequence in sequences.values()}) == 4
    assert len({sequence.labels["action"] for sequence in sequences.values()}) == 9
    bodies = 0
    for path in skeleton_files(data / "ntu"):
        recording, sequence = read_skeleton(path), sequences[path.name]
        ids = list(dict.fromkeys(recording.track_ids))
        assert sequence.joints.shape == (len(recording), len(ids), 25, 3)
        for index in range(len(recording)):
            frame = recording.frame(index, 0)
            for track_id, joints, tracking in zip(frame.track_ids, frame.joints, frame.tracking, strict=True):
                assert_array_equal(sequence.joints[index, ids.index(track_id)], joints)
                assert_array_equal(sequence.tracking[index, ids.index(track_id)], tracking)
        bodies += len(recording.track_ids)
    assert sum(int(sequence.joints.any(axis=(2, 3)).sum()) for sequence in sequences.values()) == bodies
