"""The Template anonymizer: constant bones, kept directions, nothing of stature left; on every real recording too."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from skelanon.sensors.body import ancestor_matrix, bone_lengths, difference_matrix, rest_directions
from skelanon.sensors.joints import BONES, INDEX, ROOT
from skelanon.train.anonymizers.template import Template, TemplateRoot
from skelanon.train.samples import random_samples

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

ROOTS: tuple[TemplateRoot, ...] = ("foot_anchored", "body_centred", "keep")
FEET = [INDEX["FootLeft"], INDEX["FootRight"]]
SHORT_M = 0.005
"""A raw bone shorter than this has no direction worth comparing."""


def anonymized(raw: Floats, root: TemplateRoot = "foot_anchored") -> Floats:
    """(F, 25, 3) to (F, 25, 3)."""
    with torch.inference_mode():
        (joints,) = Template(root)(torch.from_numpy(raw[:, None]))
    result: Floats = joints[:, 0].numpy()
    return result


def bones_of(joints: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
    """Lengths (F, 24) and directions (F, 24, 3), in double precision."""
    bones = (difference_matrix() @ joints.astype(np.float64))[:, list(BONES)]
    lengths = np.linalg.norm(bones, axis=2)
    return lengths, bones / np.where(lengths > 0, lengths, 1.0)[..., None]


def poses(frames: int = 500) -> Floats:
    return random_samples(tracks=frames, frames=1, bodies_per_sample=1, seed=1).joints[0, :, 0]


def check_bones(raw: Floats, out: Floats) -> None:
    raw_lengths, raw_directions = bones_of(raw)
    lengths, directions = bones_of(out)
    assert np.abs(lengths - bone_lengths()[list(BONES)]).max() <= 1e-5
    assert np.abs(directions - raw_directions)[raw_lengths > SHORT_M].max() <= 1e-5


@pytest.mark.parametrize("root", ROOTS)
def test_bone_lengths_are_the_templates_and_directions_are_kept(root: TemplateRoot) -> None:
    raw = poses()
    check_bones(raw, anonymized(raw, root))


def test_root_modes_put_the_body_where_they_say() -> None:
    raw = poses()
    anchored = anonymized(raw, "foot_anchored")
    assert np.array_equal(anchored[:, ROOT, ::2], raw[:, ROOT, ::2])
    np.testing.assert_allclose(anchored[:, FEET, 1].min(1), raw[:, FEET, 1].min(1), rtol=0, atol=2e-6)
    assert not anonymized(raw, "body_centred")[:, ROOT].any()
    assert np.array_equal(anonymized(raw, "keep")[:, ROOT], raw[:, ROOT])


def test_two_persons_of_different_size_in_the_same_pose_come_out_the_same() -> None:
    random = np.random.default_rng(2)
    _, directions = bones_of(poses())
    bones = np.zeros((len(directions), 25, 3))
    floor, place = -0.9, random.uniform(1, 4, (len(directions), 1, 2))
    persons = []
    for stature in (1.45, 1.95):
        lengths = bone_lengths(stature) * random.uniform(0.8, 1.2, 25)
        bones[:, list(BONES)] = directions * lengths[list(BONES), None]
        joints = ancestor_matrix() @ bones
        joints[..., ::2] += place
        joints[..., 1] += floor - joints[:, FEET, 1].min(1, keepdims=True)
        persons.append(joints.astype(np.float32))
    small, tall = (anonymized(person) for person in persons)
    assert np.abs(persons[0] - persons[1]).max() > 0.3
    np.testing.assert_allclose(small, tall, rtol=0, atol=5e-6)
    np.testing.assert_allclose(small[:, FEET, 1].min(1), floor, rtol=0, atol=1e-6)


def test_a_bone_without_length_takes_its_rest_direction() -> None:
    out = anonymized(np.full((1, 25, 3), 0.5, np.float32))
    _, directions = bones_of(out)
    np.testing.assert_allclose(directions[0], rest_directions()[list(BONES)], rtol=0, atol=1e-5)


def test_a_bone_of_a_millimetre_keeps_its_direction() -> None:
    raw = poses() * np.float32(0.01)  # the shortest bones are 0.6 mm
    _, raw_directions = bones_of(raw)
    _, directions = bones_of(anonymized(raw, "body_centred"))
    assert np.abs(directions - raw_directions).max() <= 1e-5


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(raw=arrays(np.float32, (25, 3), elements=finite), root=st.sampled_from(ROOTS))
@settings(deadline=None)
def test_bone_lengths_are_constant_whatever_comes_in(raw: Floats, root: TemplateRoot) -> None:
    lengths, _ = bones_of(anonymized(raw[None], root))
    assert np.abs(lengths - bone_lengths()[list(BONES)]).max() <= 1e-5


@pytest.mark.parametrize("value", [np.nan, -np.nan])
def test_what_is_not_a_number_never_becomes_a_body(value: float) -> None:
    raw = poses(1)
    raw[0, INDEX["HandLeft"], 1] = value
    assert not np.isfinite(anonymized(raw)).all()


@pytest.mark.parametrize(
    "name", ["ntu", "utd_mhad", "kgbd", "ucalgary_gait", "kinectmultitrack", "azure_kinect", "kinect_v2_csv"]
)
def test_every_recording(name: str, recordings: Callable[[str], Iterator[Floats]]) -> None:
    frames = 0
    for raw in recordings(name):
        frames += len(raw)
        out = anonymized(raw)
        check_bones(raw, out)
        np.testing.assert_allclose(out[:, FEET, 1].min(1), raw[:, FEET, 1].min(1), rtol=0, atol=2e-6)
    assert frames > 100
