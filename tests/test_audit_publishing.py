"""What is attacked is what the stream publishes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit import AuditError, Published, publish, release
from skelanon.audit.publishing import drawn_at_random, release_key
from skelanon.audit.shape import persons_sharing
from skelanon.audit.view import view
from skelanon.export.bundle import default_bundle_path
from skelanon.sensors.frame import Joints
from skelanon.sensors.population import Activity, population, skeleton_sequence
from skelanon.train.data.store import SkeletonDataset

Write = Callable[..., SkeletonDataset]
Runners = Callable[..., Any]


@pytest.fixture(scope="module")
def bodies() -> list[Joints]:
    """Three sequences, (T, 1, 25, 3), of different lengths."""
    people = population(3, 3)
    return [skeleton_sequence(person, Activity.WALK, 15, 10 + 4 * i, 0)[:, None] for i, person in enumerate(people)]


@pytest.fixture(scope="module")
def dataset(write_dataset: Write, bodies: list[Joints]) -> SkeletonDataset:
    return write_dataset(*((joints, {"subject": i}) for i, joints in enumerate(bodies)))


def shrunk(joints: Joints) -> Joints:
    return joints * np.float32(0.9) + np.float32(0.05)  # what the scripted runner does


def test_bodies_go_through_the_streams_anonymizer(
    dataset: SkeletonDataset, bodies: list[Joints], scripted_runner: Runners
) -> None:
    runner = scripted_runner()
    published = publish(dataset, runner)
    assert len(runner.calls) >= 3
    assert np.allclose(published.joints, shrunk(np.concatenate(bodies)[:, 0]), atol=1e-6)
    assert published.start.tolist() == [0, 10, 24, 42]
    assert published.frame[10:24].tolist() == list(range(14))
    ids = [set(published.id[published.rows(i)].tolist()) for i in range(3)]
    assert [len(one) for one in ids] == [1, 1, 1]
    assert len(set.union(*ids)) == 3  # a new id for each sequence


def test_what_the_guard_withholds_is_not_attacked(dataset: SkeletonDataset, scripted_runner: Runners) -> None:
    published = publish(dataset, scripted_runner(lambda joints: joints))  # the identity: raw joints
    assert len(published.joints) == 0
    assert len(published.captured_ns) == 42  # frames were published, without bodies
    assert all(len(published.main_body(i)) == 0 for i in range(3))
    assert not view(published, 8).faced.any()


def test_a_model_that_fails_is_no_anonymizer(dataset: SkeletonDataset, scripted_runner: Runners) -> None:
    def fail(joints: Joints) -> Joints:
        raise RuntimeError

    with pytest.raises(AuditError, match="nothing would be published"):
        publish(dataset, scripted_runner(fail))


def test_bodies_in_slots_are_published_to_their_end(
    dataset: SkeletonDataset, scripted_runner: Callable[..., Any]
) -> None:
    published = publish(dataset, scripted_runner(presence_frames=12))  # of 10, 14 and 18 frames
    assert np.diff(published.start).tolist() == [12, 24, 24]
    assert np.diff(published.frame_start).tolist() == [13, 25, 25]  # and a frame of an empty room
    gaps = [np.unique(np.diff(published.times(sequence))) for sequence in range(3)]
    assert all(some.min() >= 33_333_333 and some.max() <= 33_333_334 for some in gaps)


def test_template_is_published_with_the_templates_bones(dataset: SkeletonDataset) -> None:
    published = release("template", dataset)
    assert len(published.joints) == 42
    shin = np.linalg.norm(published.joints[:, 14] - published.joints[:, 13], axis=1)
    assert np.ptp(shin) < 1e-5


def test_raw_and_noise_are_what_they_say(dataset: SkeletonDataset, bodies: list[Joints]) -> None:
    raw, noisy = release("raw", dataset), release("noise=0.05", dataset)
    assert np.array_equal(raw.joints, np.concatenate(bodies)[:, 0])
    assert (noisy.joints - raw.joints).std() == pytest.approx(0.05, rel=0.05)


def test_a_file_of_released_skeletons_round_trips(dataset: SkeletonDataset, tmp_path: Path) -> None:
    raw = release("raw", dataset)
    raw.save(tmp_path / "released.npz")
    again = release(str(tmp_path / "released.npz"), dataset)
    for name in ("joints", "start", "frame", "id", "tracking", "frame_start", "captured_ns"):
        assert np.array_equal(getattr(again, name), getattr(raw, name))
    np.savez(tmp_path / "bare.npz", joints=raw.joints, start=raw.start)
    bare = release(str(tmp_path / "bare.npz"), dataset)
    assert np.array_equal(view(bare, 8).faced, view(raw, 8).faced)


def test_wrong_files_are_refused(dataset: SkeletonDataset, tmp_path: Path) -> None:
    raw = release("raw", dataset)
    file = tmp_path / "released.npz"
    for arrays, message in (
        ({"joints": raw.joints}, "no array `start`"),
        ({"joints": raw.joints, "start": np.array([0, 41])}, "does not divide"),
        ({"joints": raw.joints, "start": np.array([0, 42])}, "1 sequences"),
        ({"joints": raw.joints * np.nan, "start": raw.start}, "not finite"),
        ({"joints": raw.joints[:, :20], "start": raw.start}, "shapes differ"),
    ):
        np.savez(file, **arrays)
        with pytest.raises(AuditError, match=message):
            release(str(file), dataset)
    file.write_bytes(b"PK")
    with pytest.raises(AuditError, match="cannot be read"):
        release(str(file), dataset)
    for name in ("noise=much", "nothing"):
        with pytest.raises(AuditError, match=name):
            release(name, dataset)


def test_the_main_body_is_the_one_that_is_there_longest(write_dataset: Write, bodies: list[Joints]) -> None:
    longer = bodies[2]  # 18 frames
    joints = np.zeros((18, 2, 25, 3), np.float32)
    joints[:10, 0], joints[:, 1] = bodies[0][:, 0], longer[:, 0]
    raw = release("raw", write_dataset((joints, {"subject": 0})))
    assert np.array_equal(raw.joints[raw.main_body(0)], longer[:, 0])


def test_where_a_body_stands_is_apart_from_how_it_stands(dataset: SkeletonDataset) -> None:
    raw = release("raw", dataset)
    moved = raw.joints + np.array([0.4, 0.1, -0.2], np.float32)
    other = Published(moved, raw.start, raw.frame, raw.id, raw.tracking, raw.frame_start, raw.captured_ns)
    assert np.allclose(view(raw, 8).faced, view(other, 8).faced, atol=1e-4)
    assert not np.allclose(view(raw, 8).place, view(other, 8).place, atol=0.05)
    assert view(raw, 8).faced.shape == (3, 8, 25, 3)


def test_a_key_follows_from_the_set_and_from_contents(
    dataset: SkeletonDataset, write_dataset: Write, bodies: list[Joints], tmp_path: Path
) -> None:
    raw = release("raw", dataset)
    raw.save(tmp_path / "one.npz")
    raw.save(tmp_path / "same.npz")
    np.savez(tmp_path / "other.npz", joints=raw.joints, start=raw.start)
    files = [str(tmp_path / f"{name}.npz") for name in ("one", "same", "other")]
    one, same, other = (release_key(file, dataset) for file in files)
    assert one == same
    smaller = write_dataset((bodies[0], {"subject": 0}))
    keys = {one, other, *(release_key(name, dataset) for name in ("raw", "noise=0.1", "noise=0.2", "template"))}
    assert len(keys | {release_key("raw", smaller)}) == 7
    with pytest.raises(AuditError, match=r"missing.onnx: .*No such file"):
        release_key("missing.onnx", dataset)


def test_one_frame_that_is_wrong_does_not_turn_the_others(dataset: SkeletonDataset) -> None:
    raw = release("raw", dataset)
    turn = np.array([[0.5, 0, -(0.75**0.5)], [0, 1, 0], [0.75**0.5, 0, 0.5]], np.float32)
    joints = raw.joints.copy()
    joints[raw.start[:-1]] @= turn  # the first of each sequence, by 60 degrees
    other = Published(joints, raw.start, raw.frame, raw.id, raw.tracking, raw.frame_start, raw.captured_ns)
    apart = np.abs(view(raw, 8).faced - view(other, 8).faced)[:, 1:].max()
    assert apart < 0.1  # an eighth of 60 degrees; the first frame alone would make it 0.5 m
    assert np.abs(view(raw, 8).faced - view(other, 8).faced)[:, 0].max() > 0.1


def test_persons_who_share_a_frame_are_counted_once_each_and_only_where_all_joints_are_the_same(
    dataset: SkeletonDataset,
) -> None:
    raw = release("raw", dataset)
    joints = raw.joints.copy()
    first, second, third = raw.start[:-1]
    joints[[second, third, second + 1]] = joints[first]  # twice in the second sequence
    joints[third, 24, 2] += 2e-3
    other = Published(joints, raw.start, raw.frame, raw.id, raw.tracking, raw.frame_start, raw.captured_ns)
    shared = persons_sharing(other, np.array([5, 7, 9]))
    assert np.flatnonzero(shared > 1).tolist() == sorted([first, second, second + 1])
    assert shared.max() == 2
    joints[third] = joints[first]
    assert persons_sharing(other, np.array([5, 7, 9]))[first] == 3
    assert persons_sharing(other, np.array([5, 7, 5]))[first] == 2
    assert (persons_sharing(raw, np.array([5, 7, 9])) == 1).all()


def test_noise_is_drawn_anew_and_only_what_is_random_is(dataset: SkeletonDataset) -> None:
    first, same, other = (release("noise=0.05", dataset, draw).joints for draw in (0, 0, 1))
    assert np.array_equal(first, same)
    assert (first - other).std() == pytest.approx(0.05 * 2**0.5, rel=0.05)
    assert drawn_at_random("noise=0.05")
    assert not any(map(drawn_at_random, ("raw", "template", str(default_bundle_path()), "released.npz")))
