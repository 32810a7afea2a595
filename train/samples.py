"""Made-up frames of bodies, to compare torch and ONNX Runtime on."""

from itertools import permutations, product

import numpy as np

from skelanon.export.samples import Samples
from skelanon.sensors.body import Doubles, ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.joints import BONES


def random_samples(*, tracks: int, frames: int, bodies_per_sample: int, seed: int = 0) -> Samples:
    """Bodies of 1.4 to 2.0 m in random postures, turned any way about the vertical, 1 to 5 m from the sensor.

    In samples of two bodies each is absent from a quarter of the frames.
    """
    random = np.random.default_rng(seed)
    shape = (frames, tracks, bodies_per_sample)
    directions = rest_directions() + 0.4 * random.standard_normal((*shape, 25, 3))
    lengths = np.linalg.norm(directions, axis=-1, keepdims=True)
    bones = directions / lengths * bone_lengths()[:, None] * random.uniform(0.82, 1.18, (*shape, 1, 1))
    yaw = random.uniform(-np.pi, np.pi, shape)
    sine, cosine, zero, one = np.sin(yaw), np.cos(yaw), np.zeros(shape), np.ones(shape)
    turn = np.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], -1).reshape(*shape, 3, 3)
    place = random.uniform((-2, -1, 1), (2, 1, 5), (*shape, 1, 3))
    joints = (ancestor_matrix() @ bones) @ turn + place
    present = np.ones(shape) if bodies_per_sample == 1 else (random.random(shape) < 0.75).astype(np.float64)
    return Samples((joints * present[..., None, None]).astype(np.float32), present.astype(np.float32))


def extreme_samples(*, bodies_per_sample: int) -> list[Samples]:
    """Where rounding, angles and lengths go wrong: far bodies, bodies turned to every side, bones without length.

    Turned: a resting body with each of its axes along each axis of the sensor, which is standing, lying and upside
    down, facing any side; exactly, and nearly. Bones: each, and all of them, of 0, 1e-6 and 1e-3 m.
    """
    random = np.random.default_rng(1)
    bones = rest_directions() * bone_lengths()[:, None]
    turned = bones @ _axis_turns().swapaxes(1, 2)  # (24, 25, 3)
    nearly = turned + 1e-3 * random.standard_normal(turned.shape)
    short = np.stack([_shortened(bones, bone, length) for bone in (*BONES, None) for length in (0.0, 1e-6, 1e-3)])
    near, far = np.array([0.3, -0.2, 3.0]), random.uniform(-100, 100, (24, 1, 3))
    return [
        _standing(which, place, bodies_per_sample)
        for which, place in ((turned, near), (nearly, near), (short, near), (nearly, far), (turned, far))
    ]


def _axis_turns() -> Doubles:
    """(24, 3, 3): the rotations of a cube onto itself."""
    signed = [
        np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
    ]
    return np.stack([matrix for matrix in signed if np.linalg.det(matrix) > 0])


def _shortened(bones: Doubles, bone: int | None, length: float) -> Doubles:
    """The bones, one of them, or all, of a length in metres."""
    lengths = np.linalg.norm(bones, axis=1, keepdims=True)
    which = slice(None) if bone is None else slice(bone, bone + 1)
    short = bones.copy()
    short[which] *= length / np.maximum(lengths[which], 1e-9)
    return short


def _standing(bones: Doubles, place: Doubles, bodies_per_sample: int) -> Samples:
    """Two frames of bodies (N, 25, 3) at a place; in samples of two, the second is the next body, 1 m further."""
    joints = ancestor_matrix() @ bones
    bodies = np.stack([np.roll(joints, -body, axis=0) + place + body for body in range(bodies_per_sample)], 1)
    frames = np.stack([bodies, bodies + 0.05]).astype(np.float32)  # (2, N, P, 25, 3)
    return Samples(frames, np.ones(frames.shape[:3], np.float32))
