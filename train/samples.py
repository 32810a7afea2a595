"""Made-up frames of bodies, to compare torch and ONNX Runtime on."""

import numpy as np

from skelanon.export.exporter import Samples
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions


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
