"""Bone directions of a body that is turned to face the sensor: no place, no proportions, no heading."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from skelanon.sensors.joints import BONES, INDEX

from .kinematics import REACH_M, constant, hint_of_rest, joints_to_bones, sum_of_coordinates, unit_directions

DIRECTIONS = 3 * len(BONES)
"""Numbers of a row: x, y, z of the unit vectors of the 24 bones."""

_LEAST = 0.1
"""Where the four directions, seen from above, add up to less, the body lies on its side, and noise would turn it."""
_TO_THE_RIGHT = {"ShoulderRight": 1.0, "HipRight": 1.0, "ShoulderLeft": -1.0, "HipLeft": -1.0}
"""Bones that end at these joints, and which way they point."""


class Facing(nn.Module):
    """Rows of bodies (N, 75), metres, to rows of unit bone directions (N, 72).

    Each frame by itself is turned about the vertical until the directions to shoulders and hips, taken together, lie
    along x, right at +x, as of a body that faces the sensor. A body on its side is not turned. Lengths of bones
    and the place of the body have no influence.
    """

    to_bones: Tensor
    hint: Tensor
    to_squared_lengths: Tensor
    across: Tensor
    not_turned: Tensor
    quarter: Tensor
    of_turn: Tensor
    upright: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("to_bones", joints_to_bones())
        self.register_buffer("hint", hint_of_rest())
        self.register_buffer("to_squared_lengths", sum_of_coordinates())
        across = torch.zeros(len(BONES), 3, 2)
        for name, sign in _TO_THE_RIGHT.items():
            across[list(BONES).index(INDEX[name]), (0, 2), (0, 1)] = sign
        self.register_buffer("across", across.flatten(0, 1))  # (72, 2): x and z
        self.register_buffer("not_turned", torch.tensor([1.0, 0.0]))  # cosine, sine
        self.register_buffer("quarter", _of_each([[0, 0, -1], [0, 0, 0], [1, 0, 0]]))  # x, y, z to z, 0, -x
        level, upright, none = _of_each([1, 0, 1]), _of_each([0, 1, 0]), _of_each([0, 0, 0])
        self.register_buffer("of_turn", torch.stack([torch.cat([level, none]), torch.cat([none, level])]))  # (2, 144)
        self.register_buffer("upright", torch.cat([upright, none]))

    def forward(self, rows: Tensor) -> Tensor:
        directions = unit_directions(rows.clamp(-REACH_M, REACH_M), self.to_bones, self.hint, self.to_squared_lengths)
        across = directions @ self.across  # (N, 2)
        length = torch.linalg.vector_norm(across, dim=1, keepdim=True)
        turn = torch.where(length > _LEAST, across / length, self.not_turned)  # cosine, sine
        as_is, a_quarter = torch.addmm(self.upright, turn, self.of_turn).chunk(2, 1)
        turned: Tensor = as_is * directions + a_quarter * (directions @ self.quarter)
        return turned


def _of_each(of_bone: ArrayLike) -> Tensor:
    """(3,) or (3, 3), the same for every bone, float32: (72,) or (72, 72)."""
    of_bone = np.asarray(of_bone, np.float32)
    every = np.ones(len(BONES)) if of_bone.ndim == 1 else np.eye(len(BONES))
    return constant(np.kron(every, of_bone))
