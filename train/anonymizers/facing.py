"""Bone directions of a body that is turned to face the sensor: no place, no proportions, no heading."""

import torch
from torch import Tensor, nn

from skelanon.sensors.body import rest_directions
from skelanon.sensors.joints import BONES, INDEX

from .kinematics import constant, joints_to_bones, sum_of_coordinates

DIRECTIONS = 3 * len(BONES)
"""Numbers of a row: x, y, z of the unit vectors of the 24 bones."""

_HINT_M = 1e-9
"""Each bone is lengthened so much in its rest direction, which decides alone where a raw bone has no length."""
_REACH_M = 64.0
_RIGHT_TO_LEFT = (("ShoulderRight", "ShoulderLeft"), ("HipRight", "HipLeft"))


class Facing(nn.Module):
    """Rows of bodies (N, 75), metres, to rows of unit bone directions (N, 72).

    Each frame by itself is turned about the vertical until shoulders and hips, taken together, lie along x, right at
    +x, as of a body that faces the sensor. Lengths of bones and the place of the body have no influence.
    """

    to_bones: Tensor
    hint: Tensor
    to_squared_lengths: Tensor
    across: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("to_bones", joints_to_bones())
        self.register_buffer("hint", constant(_HINT_M * rest_directions()[list(BONES)].ravel()))
        self.register_buffer("to_squared_lengths", sum_of_coordinates())
        across = torch.zeros(3 * len(INDEX), 2)
        for right, left in _RIGHT_TO_LEFT:
            for column, axis in enumerate((0, 2)):
                across[3 * INDEX[right] + axis, column] = 1.0
                across[3 * INDEX[left] + axis, column] = -1.0
        self.register_buffer("across", across)  # (75, 2): x and z from left to right

    def forward(self, rows: Tensor) -> Tensor:
        raw = rows.clamp(-_REACH_M, _REACH_M)
        across = raw @ self.across  # (N, 2)
        length = torch.linalg.vector_norm(across, dim=1, keepdim=True)
        cosine, sine = (across / length.clamp_min(_HINT_M)).split(1, 1)  # zeros where a body has no breadth
        bones = torch.addmm(self.hint, raw, self.to_bones)
        directions = bones / ((bones * bones) @ self.to_squared_lengths).sqrt()
        x, y, z = directions.reshape(-1, len(BONES), 3).unbind(2)
        whole = torch.where(length > _HINT_M, cosine, torch.ones_like(cosine))
        turned = torch.stack([whole * x + sine * z, y, whole * z - sine * x], 2)
        return turned.flatten(1)
