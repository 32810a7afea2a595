"""Clips hold what the stream would hand to a model, at a fixed length; batches follow from seed and epoch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch

from skelanon.configs.training import DataSettings, SplitSettings
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.data.clips import Clips, EpochBatches, Frames, OrderedBatches, clip
from skelanon.train.data.splits import class_numbers, classes_of, split
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import DataError

Write = Callable[..., SkeletonDataset]


def settings(**changes: object) -> DataSettings:
    return DataSettings.model_validate(
        {"folder": "-", "split": {"by": "trial", "test": [2]}, "frames": 8} | changes, strict=True
    )


def counted(frames: int, bodies: int = 1) -> NDArray[np.float32]:
    """(frames, bodies, 25, 3): a body whose joints all have x = frame + 1, y = body + 1."""
    joints = np.ones((frames, bodies, 25, 3), np.float32)
    joints[..., 0] = np.arange(1, frames + 1)[:, None, None]
    joints[..., 1] = np.arange(1, bodies + 1)[:, None]
    return joints


def places(joints: NDArray[np.float32], body: int = 0) -> list[int]:
    return [int(x) for x in joints[:, body, 0, 0]]


def test_a_short_sequence_is_repeated_and_a_long_one_cut() -> None:
    assert places(clip(counted(3), settings())) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert places(clip(counted(11), settings())) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_resampling_takes_the_middles_of_equal_parts() -> None:
    assert places(clip(counted(32), settings(fit="resample"))) == [3, 7, 11, 15, 19, 23, 27, 31]
    assert places(clip(counted(4), settings(fit="resample"))) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_body_that_comes_late_is_moved_to_the_start_and_a_gap_stays() -> None:
    joints = counted(6, 2)
    joints[:3, 1] = 0
    joints[2, 0] = 0
    both = clip(joints, settings(bodies=2))
    assert places(both, 1) == [4, 5, 6, 4, 5, 6, 4, 5]
    assert places(both, 0) == [1, 2, 0, 4, 5, 6, 1, 2]


@pytest.mark.parametrize("broken", [np.nan, np.inf, 101.0, "joint at the origin"])
def test_a_body_that_the_stream_would_withhold_is_absent(broken: float | str) -> None:
    joints = counted(4)
    if isinstance(broken, str):
        joints[1, 0, 7] = 0
    else:
        joints[1, 0, 7, 2] = broken
    assert places(clip(joints, settings(frames=4))) == [1, 0, 3, 4]


def test_bodies_are_chosen_by_appearance_or_by_motion() -> None:
    joints = counted(6, 3)
    joints[:, 0, :, 0] = 1  # stands still
    joints[:, 1] = 0  # never there
    assert clip(joints, settings())[0, 0, 0, 1] == 1
    assert clip(joints, settings(choice="motion_energy"))[0, 0, 0, 1] == 3
    assert clip(joints, settings(bodies=2))[0, :, 0, 1].tolist() == [1, 3]


def test_frames_come_with_the_first_frame_of_their_sequence(write_dataset: Write) -> None:
    dataset = write_dataset((counted(3), {"trial": 1}), (counted(4) + 10, {"trial": 1}))
    frames = Frames(dataset, np.array([0, 1]), settings())
    found = [frames[index].joints[:, 0, 0, 0].int().tolist() for index in range(len(frames))]
    assert found == [[1, 1], [1, 2], [1, 3], [11, 11], [11, 12], [11, 13], [11, 14]]


def test_a_clip_in_training_is_what_the_stream_computes_frame_by_frame(write_dataset: Write) -> None:
    random = np.random.default_rng(0)
    joints = counted(8) + random.normal(0, 0.3, (8, 1, 25, 3)).astype(np.float32)
    batch = Clips(write_dataset((joints, {"trial": 1})), np.array([0]), np.zeros((1, 1), np.int64), settings())[0]
    model = Normalised(torch.nn.Identity(), 1)
    whole = model.sequence(batch.joints[None], batch.present[None])[0]
    state = torch.zeros(1, model.state_size)
    for frame in range(8):
        anonymous, state = model(torch.from_numpy(joints[frame][None]), None, state)
        assert torch.allclose(anonymous[0], whole[frame], atol=1e-6)


def test_the_split_is_by_values_or_their_remainder(write_dataset: Write) -> None:
    dataset = write_dataset(*((counted(2), {"subject": subject}) for subject in (1, 2, 3, 6, -1)))
    parts = split(dataset, SplitSettings(by="subject", test=[0], modulo=3))
    assert (parts.train.tolist(), parts.test.tolist()) == ([0, 1], [2, 3])
    parts = split(dataset, SplitSettings(by="subject", test=[1], train=[6]))
    assert (parts.train.tolist(), parts.test.tolist()) == ([3], [0])


def test_a_split_may_leave_out_whoever_it_does_not_name(write_dataset: Write) -> None:
    rows = [{"subject": subject, "trial": trial} for subject in (1, 2, 3) for trial in (1, 2)]
    dataset = write_dataset(*((counted(2), row) for row in rows))
    parts = split(dataset, SplitSettings(by="trial", test=[2], where={"subject": [1, 3]}))
    assert (parts.train.tolist(), parts.test.tolist()) == ([0, 4], [1, 5])
    with pytest.raises(DataError, match="is left to train"):
        split(dataset, SplitSettings(by="trial", test=[2], where={"subject": [7]}))
    with pytest.raises(DataError, match=r"`data.split.where` is 'camera'"):
        split(dataset, SplitSettings(by="trial", test=[2], where={"camera": [7]}))


@pytest.mark.parametrize(
    ("by", "test", "message"),
    [
        ("subject", [7], r"no sequence .* is left to test: check `data.split`; `subject` has the values \[1, 2\]"),
        ("subject", [1, 2], "no sequence .* is left to train"),
        ("camera", [1], r"`data.split.by` is 'camera': .* has the label columns \['action', 'subject'\]"),
    ],
)
def test_an_empty_split_and_an_unknown_column_are_errors(
    write_dataset: Write, by: str, test: list[int], message: str
) -> None:
    dataset = write_dataset(*((counted(2), {"subject": subject, "action": 1}) for subject in (1, 2)))
    with pytest.raises(DataError, match=message):
        split(dataset, SplitSettings(by=by, test=test))


def labelled(write_dataset: Write, *actions: int) -> SkeletonDataset:
    """The last sequence tests."""
    last = len(actions) - 1
    return write_dataset(*((counted(2), {"action": a, "trial": 2 if i == last else 1}) for i, a in enumerate(actions)))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ((3, 5, 7), r"`action` has the values \[7\] in the test sequences, but in no training sequence"),
        ((3, -1, 3), "1 of 2 training sequences of .* have no label `action`"),
        ((3, 3, 3), "`action` has the one value 3 in all training sequences"),
    ],
)
def test_labels_that_cannot_be_learned_are_errors(write_dataset: Write, actions: tuple[int, ...], message: str) -> None:
    dataset = labelled(write_dataset, *actions)
    with pytest.raises(DataError, match=message):
        classes_of(dataset, "action", split(dataset, settings().split), "data.action")


def test_class_numbers_follow_the_values_and_refuse_others(write_dataset: Write) -> None:
    dataset = labelled(write_dataset, 9, 4, 9)
    classes = classes_of(dataset, "action", split(dataset, settings().split), "data.action")
    assert classes == (4, 9)
    assert class_numbers(dataset, "action", classes, np.array([0, 1, 2]), "data.action").tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"`action` has the values \[9\], which are none of the classifier's 2 classes"):
        class_numbers(dataset, "action", (4, 5), np.array([0, 1]), "data.action")


def test_training_draws_a_frame_of_each_part_anew_for_each_number(write_dataset: Write) -> None:
    joints = np.ones((40, 1, 25, 3), np.float32) * np.arange(1, 41, dtype=np.float32)[:, None, None, None]
    dataset, targets = write_dataset((joints, {"trial": 1})), np.zeros((1, 1), np.int64)
    settled = settings(frames=8, fit="resample")

    def frames(clips: Clips, number: int) -> list[int]:
        return [int(value) - 1 for value in clips[number].joints[:, 0, 0, 0]]

    training = Clips(dataset, np.array([0]), targets, settled, seed=3)
    drawn = [frames(training, number) for number in range(200)]
    assert all([frame // 5 for frame in one] == list(range(8)) for one in drawn)
    assert {frame for one in drawn for frame in one} == set(range(40))
    assert drawn[7] == frames(Clips(dataset, np.array([0]), targets, settled, seed=3), 7)
    assert drawn[7] != frames(Clips(dataset, np.array([0]), targets, settled, seed=4), 7)
    tests = Clips(dataset, np.array([0]), targets, settled)
    assert frames(tests, 0) == frames(tests, 5) == [2, 7, 12, 17, 22, 27, 32, 37]


def test_batches_are_another_permutation_in_each_epoch_and_the_same_after_a_break() -> None:
    batches = EpochBatches(10, 4, seed=1)
    first = list(batches)
    assert [len(batch) for batch in first] == [4, 4]
    assert len({index for batch in first for index in batch}) == 8
    assert {index // 10 for batch in first for index in batch} == {0}
    batches.epoch = 1
    assert [[index - 10 for index in batch] for batch in batches] != first
    assert {index // 10 for batch in batches for index in batch} == {1}
    again = EpochBatches(10, 4, seed=1)
    again.epoch = 1
    assert list(again) == list(batches)
    assert [len(batch) for batch in EpochBatches(3, 8, seed=1)] == [3]


def test_several_processes_share_each_batch_and_test_every_clip_once() -> None:
    whole, shares = list(EpochBatches(12, 4, seed=3)), [list(EpochBatches(12, 4, 3, rank, 2)) for rank in (0, 1)]
    for number, batch in enumerate(whole):
        assert sorted(shares[0][number] + shares[1][number]) == sorted(batch)
    tested = [index for rank in (0, 1, 2) for batch in OrderedBatches(10, 2, rank, 3) for index in batch]
    assert sorted(tested) == list(range(10))


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path, write_dataset: Write) -> None:
    with pytest.raises(DataError, match=r"is no data set: dataset\.json is missing; make one with `skelanon dataset"):
        SkeletonDataset(tmp_path)
    dataset = write_dataset((counted(3), {"trial": 1}))
    np.save(dataset.folder / "joints.npy", np.zeros((2, 25, 3), np.float32))
    with pytest.raises(DataError, match="is damaged: its index names 3 bodies"):
        SkeletonDataset(dataset.folder)
    (dataset.folder / "dataset.json").write_text("{}")
    with pytest.raises(DataError, match="is no data set, or damaged"):
        SkeletonDataset(dataset.folder)
