"""What an attacker makes of a published sequence before learning starts: the same for every release, raw too."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelanon.sensors.joints import INDEX
from skelanon.train.anonymizers.normalise import Normalised

from .published import Published

Floats = NDArray[np.float32]


@dataclass(frozen=True, repr=False, eq=False)
class View:
    """Clips of T frames of the main body of N sequences, evenly spaced over the frames in which it was published.

    faced: (N, T, 25, 3) metres, centred on SpineMid and turned by the rotation of the first frame (the seed's
    normalisation), zeros where nobody was published. place: (N, T, 3) SpineBase in the axes of the release.
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


def view(published: Published, frames: int) -> View:
    """The view of all sequences."""
    bodies = np.zeros((len(published), frames, 25, 3), np.float32)
    for sequence in range(len(published)):
        rows = published.main_body(sequence)
        if len(rows):
            bodies[sequence] = published.joints[rows[spaced(len(rows), frames)]]
    joints = torch.from_numpy(bodies)[:, :, None]  # (N, T, 1, 25, 3)
    present = joints.ne(0).any(-1).any(-1).float()
    faced = Normalised(nn.Identity(), 1).sequence(joints, present) * present[..., None, None]
    return View(faced[:, :, 0].numpy(), bodies[:, :, INDEX["SpineBase"]])


def spaced(length: int, frames: int) -> NDArray[np.int64]:
    """(frames,) numbers below `length`, evenly spaced."""
    return ((np.arange(frames) + 0.5) * length / frames).astype(np.int64)
