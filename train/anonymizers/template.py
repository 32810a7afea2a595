"""The Template anonymizer: everybody's bone directions on one and the same body."""

from typing import Literal

import torch
from torch import Tensor

from skelanon.sensors.body import bone_lengths
from skelanon.sensors.joints import INDEX, JOINTS

from .kinematics import (
    REACH_M,
    bones_to_joints,
    hint_of_rest,
    joints_to_bones,
    sum_of_coordinates,
    unit_directions,
)
from .module import StreamModule

TemplateRoot = Literal["foot_anchored", "body_centred", "keep"]


class Template(StreamModule):
    """Keeps bone directions, replaces every bone length by that of an average body of 1.70 m.

    root: where the new body stands. `foot_anchored`: SpineBase has its raw x and z, and the lower foot joint has the
    height of the raw lower foot joint, so that stature does not survive in the height of the root; `body_centred`:
    SpineBase is the origin; `keep`: SpineBase is raw.
    """

    bodies_per_sample = 1
    axes = "camera"
    to_bones: Tensor
    hint: Tensor
    to_squared_lengths: Tensor
    to_joints: Tensor
    shift: Tensor
    feet: Tensor
    ground: Tensor

    def __init__(self, root: TemplateRoot = "foot_anchored") -> None:
        super().__init__()
        self.root = root
        x, y, z = torch.eye(3)
        self.register_buffer("to_bones", joints_to_bones())
        self.register_buffer("hint", hint_of_rest())
        self.register_buffer("to_squared_lengths", sum_of_coordinates())
        self.register_buffer("to_joints", bones_to_joints(bone_lengths()))
        self.register_buffer("shift", torch.stack([x, z, y]).repeat(1, JOINTS))  # (3, 75): by x, z and y, all joints
        self.register_buffer("feet", torch.tensor([3 * INDEX["FootLeft"] + 1, 3 * INDEX["FootRight"] + 1]))  # their y
        self.register_buffer("ground", torch.tensor([0, 2]))  # x and z of SpineBase

    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        raw = joints.flatten(1).clamp(-REACH_M, REACH_M)  # (N, 75)
        directions = unit_directions(raw, self.to_bones, self.hint, self.to_squared_lengths)  # (N, 72)
        body = (directions.to(self.to_joints.dtype) @ self.to_joints).float()  # (N, 75), SpineBase at the origin
        if self.root != "body_centred":
            height = self._lower_foot(raw) - self._lower_foot(body) if self.root == "foot_anchored" else raw[:, 1:2]
            place = torch.cat([raw.index_select(1, self.ground), height], 1)  # (N, 3)
            body = torch.addmm(body, place, self.shift)
        return body.reshape(-1, 1, JOINTS, 3)

    def halve(self) -> None:
        self.to_joints = self.to_joints.half()

    def _lower_foot(self, rows: Tensor) -> Tensor:
        """(N, 1), the height of the lower of FootLeft and FootRight."""
        return rows.index_select(1, self.feet).amin(1, keepdim=True)
