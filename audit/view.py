"""What an attacker makes of a published sequence before learning starts: the same for every release, raw too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skelanon.sensors.joints import INDEX
from skelanon.train.anonymizers.normalise import Normalised

from .published import Published

Floats = NDArray[np.float32]

_MOVES_M: Final = 0.1
"""A joint that is farther from its place has moved."""


@dataclass(frozen=True, repr=False, eq=False)
class View:
    """Clips of T frames of the main body of N sequences, evenly spaced over the frames in which it was published.

    faced: (N, T, 25, 3) metres, the seed's normalisation, but turned as the mean of all frames is, since that of one
    may be noise: centred on SpineMid, the spine along z, the shoulders along x; zeros where nobody was published.
    place: (N, T, 3) SpineBase in the axes of the release.
    channels: for each side channel (N, F) features of the whole sequence.
    """

    faced: Floats
    place: Floats
    channels: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.faced)

    def __getitem__(self, part: NDArray[np.int64]) -> "View":
        channels = {name: features[part] for name, features in self.channels.items()}
        return View(self.faced[part], self.place[part], channels)


def view(published: Published, frames: int, moving: bool = False) -> View:
    """The view of all sequences; of what moves alone, or of all that was published."""
    bodies = np.zeros((len(published), frames, 25, 3), np.float32)
    for sequence in range(len(published)):
        rows = published.main_body(sequence)
        if len(rows):
            rows = rows[moving_part(published.joints[rows])] if moving else rows
            bodies[sequence] = published.joints[rows[spaced(len(rows), frames)]]
    return View(_faced(torch.from_numpy(bodies)).numpy(), bodies[:, :, INDEX["SpineBase"]])


def together(views: Sequence[View]) -> View:
    """The sequences of several views, one after the other; all have the same channels."""
    return View(
        np.concatenate([one.faced for one in views]),
        np.concatenate([one.place for one in views]),
        {name: np.concatenate([one.channels[name] for one in views]) for name in views[0].channels},
    )


def _faced(joints: Tensor) -> Tensor:
    """(N, T, 25, 3) centred and turned; frames of zeros stay zeros."""
    normalise = Normalised(nn.Identity(), 1)
    present = joints.ne(0).any(-1).any(-1)  # (N, T)
    rotation = normalise.advance(joints.mean(1, keepdim=True), None, joints.new_zeros(len(joints), 10))  # (N, 10)
    rotations = rotation.repeat_interleave(joints.shape[1], 0)
    faced = normalise.anonymize(joints.flatten(0, 1)[:, None], None, rotations)  # (N * T, 1, 25, 3)
    return faced.reshape(joints.shape) * present[..., None, None]


def moving_part(joints: Floats) -> slice:
    """(F, 25, 3) metres to the frames between a body at rest and a body at rest: from where a joint leaves the place it
    had in the first, to where all are back at those of the last; by `_MOVES_M`.
    """
    from_first, from_last = (np.linalg.norm(joints - end, axis=2).max(1) > _MOVES_M for end in (joints[0], joints[-1]))
    if not from_first.any():
        return slice(0, len(joints))
    begin = int(from_first.argmax()) - 1
    end = len(joints) - int(from_last[::-1].argmax())
    return slice(begin, max(begin, end) + 1)


def spaced(length: int, frames: int) -> NDArray[np.int64]:
    """(frames,) numbers below `length`, evenly spaced."""
    return ((np.arange(frames) + 0.5) * length / frames).astype(np.int64)
