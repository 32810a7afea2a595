"""The seed's normalisation: the reference is reproduced, every case is finite, and the way back is the inverse."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.joints import INDEX
from skelanon.train.anonymizers.normalise import MinimalRotation, Normalised, prenormalise
from skelanon.train.samples import random_samples

EYE = torch.eye(3)
AXES = [(0, 2), (2, 0)]
"""An axis to turn to, and the one to turn about when a vector is opposite to it."""


def identity(bodies: Literal[1, 2] = 2, axes: Literal["camera", "normalised"] = "normalised") -> Normalised:
    return Normalised(nn.Identity(), bodies, axes)


def test_prenormalise_reproduces_the_reference(reference: Path) -> None:
    expected = np.load(reference / "ntu_expected.npz")
    np.testing.assert_allclose(prenormalise(expected["raw"]), expected["normalised"], rtol=0, atol=1e-4)


def test_prenormalise_fills_missing_frames_by_repetition() -> None:
    """Frames are told apart by the height of the head, which the rotation, latched on an upright body, keeps."""
    body = (ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None])).astype(np.float32)
    heads = [[0, 0, 1, 2, 0, 3, 0, 0], [4, 0, 5, 0, 0, 0, 0, 0], [0] * 8]
    clips = np.zeros((3, 3, 8, 25, 2), np.float32)
    for clip, frames in enumerate(heads):
        for frame, height in enumerate(frames):
            if height:
                clips[clip, :, frame, :, 0] = body.T
                clips[clip, 1, frame, INDEX["Head"], 0] = height
    out = prenormalise(clips)[:, 2, :, INDEX["Head"], 0] + body[INDEX["SpineMid"], 1]  # up is +z now
    np.testing.assert_allclose(out[0], [1, 2, 3, 1, 2, 3, 1, 2], atol=1e-5)  # late: moved to the start, no gaps
    np.testing.assert_allclose(out[1, [0, 2, 3, 5, 6]], [4, 5, 4, 5, 4], atol=1e-5)  # in time: its gap stays
    assert not prenormalise(clips)[2].any()
    assert not prenormalise(clips)[..., 1].any()


def test_a_missing_joint_stays_zero_in_recorded_clips() -> None:
    clips = random_samples(tracks=2, frames=4, bodies_per_sample=1).joints.transpose(1, 4, 0, 3, 2).copy()
    clips[:, :, 2, INDEX["HandLeft"]] = 0
    out = prenormalise(clips)
    assert not out[:, :, 2, INDEX["HandLeft"]].any()
    assert out[:, :, 1, INDEX["HandLeft"]].any()


def test_the_first_frame_is_turned_to_its_axes() -> None:
    joints = torch.from_numpy(random_samples(tracks=50, frames=1, bodies_per_sample=1).joints[0])
    normalised, state = identity(1)(joints, None, torch.zeros(50, 10))
    body = normalised[:, 0]
    shoulders = body[:, INDEX["ShoulderRight"]] - body[:, INDEX["ShoulderLeft"]]
    assert not body[:, INDEX["SpineMid"]].any()
    torch.testing.assert_close(
        shoulders / shoulders.norm(dim=1, keepdim=True), EYE[:1].expand(50, 3), atol=1e-5, rtol=0
    )
    rotation = state[:, :9].reshape(-1, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, EYE.expand(50, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(rotation) > 0).all()


@pytest.mark.parametrize(("axis", "about"), AXES)
def test_minimal_rotation_is_the_smallest(axis: int, about: int) -> None:
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32))
    rotation = MinimalRotation(axis, about)(vectors)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    torch.testing.assert_close((rotation @ unit[..., None])[..., 0], EYE[axis].expand(1000, 3), atol=1e-5, rtol=0)
    cosine = (rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    torch.testing.assert_close(cosine, unit[:, axis], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("axis", "about"), AXES)
@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.1])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_minimal_rotation_near_and_at_its_singularity(axis: int, about: int, angle: float, direction: float) -> None:
    vector = direction * EYE[axis].double()
    vector[(axis + 1) % 3] += angle
    rotation = MinimalRotation(axis, about)(vector.float()[None])[0]
    torch.testing.assert_close(rotation @ rotation.T, EYE, atol=1e-5, rtol=0)
    assert torch.linalg.det(rotation) > 0.99
    turned = rotation @ (vector / vector.norm()).float()
    torch.testing.assert_close(turned, EYE[axis], atol=5e-6, rtol=0)


@pytest.mark.parametrize(("axis", "about"), AXES)
@pytest.mark.parametrize("length", [0.0, 1e-30, 1e30])
def test_a_vector_of_no_or_of_absurd_length_gives_a_rotation(axis: int, about: int, length: float) -> None:
    rotation = MinimalRotation(axis, about)(length * torch.tensor([[0.6, 0.0, 0.8]]))[0]
    torch.testing.assert_close(rotation @ rotation.T, EYE, atol=1e-5, rtol=0)


def test_opposite_to_its_axis_a_body_is_turned_about_the_fixed_axis() -> None:
    torch.testing.assert_close(MinimalRotation(0, 2)(-EYE[:1])[0], torch.diag(torch.tensor([-1.0, -1.0, 1.0])))
    torch.testing.assert_close(MinimalRotation(2, 0)(-EYE[2:])[0], torch.diag(torch.tensor([1.0, -1.0, -1.0])))


def test_camera_axes_are_the_way_back() -> None:
    samples = random_samples(tracks=20, frames=5, bodies_per_sample=2)
    joints, present = (torch.from_numpy(part).transpose(0, 1) for part in (samples.joints, samples.present))
    torch.testing.assert_close(identity(2, "camera").sequence(joints, present), joints, atol=5e-6, rtol=0)


def test_the_first_frame_with_a_body_latches_and_body_1_stands_in_for_body_0() -> None:
    samples = random_samples(tracks=3, frames=4, bodies_per_sample=2, seed=5)
    joints, present = torch.from_numpy(samples.joints), torch.from_numpy(np.ones_like(samples.present))
    present[0] = 0  # nobody in frame 0
    present[1, :, 0] = 0  # frame 1: body 1 only
    joints = joints * present[..., None, None]
    model, alone = identity(2), identity(1)
    state = torch.zeros(3, 10)
    states = []
    for frame in range(4):
        out, state = model(joints[frame], present[frame], state)
        states.append(state)
        if frame == 1:
            expected, one = alone(joints[1, :, 1:], None, torch.zeros(3, 10))
            torch.testing.assert_close(out[:, 1:], expected)
            torch.testing.assert_close(state, one)
            assert not out[:, 0].any()
    assert not states[0].any()
    assert torch.equal(states[1], states[3])
