"""From bodies over any number of frames to clips of a fixed length: for training, and for whoever recognises live."""

from typing import Literal

import numpy as np

from .frame import Joints
from .joints import JOINTS

Fit = Literal["repeat", "resample", "pad"]
"""`repeat`: from the start again until the clip is full; `resample`: one frame from each of T equal parts; `pad`: as
they are, then nobody."""


def fit_clip(joints: Joints, frames: int, fit: Fit, bodies: int, random: np.random.Generator | None = None) -> Joints:
    """Bodies (T0, M, 25, 3), zeros where one is not there, as a clip (T, P, 25, 3) of `frames` frames.

    The first `bodies` bodies are taken. One that leaves before the end is repeated from its start; one that comes later
    is first moved to the start. Not so with `pad`. random: draws the frames of `resample`; without it, they are evenly
    spaced.
    """
    chosen = joints[:, :bodies]  # (T0, P or fewer, V, C)
    length = len(chosen) if fit == "resample" else frames
    filled = np.zeros((length, bodies, JOINTS, 3), np.float32)
    for body in range(chosen.shape[1]):
        filled[: len(chosen), body] = chosen[:length, body]
        if fit != "pad":
            filled[:, body] = repeat_to_fill(filled[:, body])
    if fit != "resample":
        return filled
    within = 0.5 if random is None else random.random(frames)
    return filled[np.minimum(((np.arange(frames) + within) * length / frames).astype(np.int64), length - 1)]


def repeat_to_fill(body: Joints) -> Joints:
    """(T, 25, 3) with missing frames at the end to (T, 25, 3) without: from the start again.

    A body that is not there at the start is first moved there, without its gaps. One that never comes stays zeros.
    """
    seen = (body != 0).any(axis=(1, 2))
    if not seen.any():
        return body
    recorded = body[: np.flatnonzero(seen)[-1] + 1] if seen[0] else body[seen]
    return recorded[np.arange(len(body)) % len(recorded)]
