"""A data set as a node would publish it: anonymous bodies, the labels they had, and where they are from."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit import publication
from skelanon.audit.errors import AuditError
from skelanon.audit.publication import publish_dataset
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.sensors.body import bone_lengths
from skelanon.sensors.joints import BONES, INDEX, PARENTS
from skelanon.sensors.population import Activity, population, skeleton_sequence
from skelanon.train.data.store import SkeletonDataset

FRAMES = 12


@pytest.fixture(scope="module")
def recorded(write_dataset: Callable[..., SkeletonDataset]) -> SkeletonDataset:
    """The first of three persons has company from frame 4 to 9; of the second nothing can be published."""
    bodies = [skeleton_sequence(person, Activity.WAVE, 30, FRAMES, 0) for person in population(3, 3)]
    two = np.stack([bodies[0], bodies[1] + (0.8, 0, 0)], axis=1).astype(np.float32)  # (T, 2, 25, 3)
    two[:4, 1] = two[9:, 1] = 0
    missing = bodies[1][:, None].copy()
    missing[:, 0, INDEX["Head"]] = 0
    sequences = [two, missing, bodies[2][:, None]]
    return write_dataset(*((joints, {"action": 5 + i, "subject": i}) for i, joints in enumerate(sequences)))


def test_bodies_are_those_of_the_template_and_keep_their_labels(recorded: SkeletonDataset, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    info = publish_dataset("template", recorded, tmp_path / "a" / "out", lambda *counts: done.append(counts))
    published = SkeletonDataset(tmp_path / "a" / "out")
    assert published.info == info
    assert done[-1] == (3, 3)
    assert published.labels["action"].tolist() == [5, 7]
    assert published.labels["subject"].tolist() == [0, 2]
    assert info.skipped == {"no bodies": 1}
    assert (published.frames.tolist(), published.bodies.tolist()) == ([FRAMES, FRAMES], [2, 1])
    joints = published[0].joints
    there = (joints != 0).any(axis=(2, 3))  # (T, M)
    assert there.sum(axis=0).tolist() == [FRAMES, 5]
    assert there[4:9].all()
    bones = joints[there][:, list(BONES)] - joints[there][:, [PARENTS[bone] for bone in BONES]]
    np.testing.assert_allclose(np.linalg.norm(bones, axis=2), np.tile(bone_lengths()[list(BONES)], (17, 1)), atol=1e-5)
    assert (published[0].tracking[there] == 2).all()


def test_it_says_what_it_is_of(recorded: SkeletonDataset, tmp_path: Path) -> None:
    first, again = (publish_dataset("template", recorded, tmp_path / name) for name in ("first", "again"))
    assert first == again  # the same input, the same content: ids are random, and not in it
    assert first.published is not None
    assert first.published.sha256 == read_bundle(default_bundle_path()).sha256
    assert first.published.source == recorded.info.fingerprint != first.fingerprint
    assert (first.licence, first.rate_hz, first.names) == (recorded.info.licence, 30, recorded.info.names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "first"]


@pytest.mark.parametrize("said", [{"axes": "normalised"}, {"root": "body_centred"}])
def test_bodies_with_a_joint_at_the_origin_are_moved_from_it(
    said: dict[str, str], recorded: SkeletonDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = read_bundle(default_bundle_path())
    manifest = msgspec.structs.replace(template.manifest, **said)
    publish_dataset("template", recorded, tmp_path / "camera")
    monkeypatch.setattr(publication, "open_bundle", lambda _: dataclasses.replace(template, manifest=manifest))
    publish_dataset("template", recorded, tmp_path / "normalised")
    camera, normalised = (SkeletonDataset(tmp_path / name)[1].joints for name in ("camera", "normalised"))
    np.testing.assert_allclose(normalised, np.add(camera, (0, 0, 3)), atol=1e-5)


def test_bodies_come_in_an_order_that_does_not_hang_on_their_ids(
    write_dataset: Callable[..., SkeletonDataset], tmp_path: Path
) -> None:
    body = skeleton_sequence(population(3, 1)[0], Activity.STAND, 30, 4, 0)
    places = np.array([(1.5, 0, 2), (-0.6, 0, 0), (0, 0, 1), (0.6, 0, 3)])
    dataset = write_dataset(((body[:, None] + places[:, None]).astype(np.float32), {"action": 1}))
    publish_dataset("template", dataset, tmp_path / "out")
    distances = np.linalg.norm(SkeletonDataset(tmp_path / "out")[0].joints[0, :, 0], axis=1)
    assert (np.diff(distances) > 0.1).all()


def test_what_cannot_be_published_is_refused(recorded: SkeletonDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(AuditError, match=r"nobody\.onnx: .*take raw, noise=0.05, template, a bundle"):
        publish_dataset("nobody.onnx", recorded, out)
    publish_dataset("template", recorded, out)
    with pytest.raises(AuditError, match="exists already: name another folder"):
        publish_dataset("template", recorded, out)
    with pytest.raises(AuditError, match="is what a model published: publish the data set it was made from"):
        publish_dataset("template", SkeletonDataset(out), tmp_path / "twice")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AuditError, match="cannot be written: Not a directory"):
        publish_dataset("template", recorded, tmp_path / "file" / "out")


def test_a_set_of_nobody_is_no_data_set(write_dataset: Callable[..., SkeletonDataset], tmp_path: Path) -> None:
    nobody = write_dataset((np.full((3, 1, 25, 3), 200.0, np.float32), {"action": 1}))
    with pytest.raises(AuditError, match="not a single body was published"):
        publish_dataset("template", nobody, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
