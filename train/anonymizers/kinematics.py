"""Bones from joints and joints from bones, for bodies flattened to rows: one matrix product each.

A row is (75,): x, y, z of joint 0, x, y, z of joint 1, ...; a row of bones is (72,): the 24 bones in the order of
`sensors.joints.BONES`.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skelanon.sensors.body import ancestor_matrix, difference_matrix, rest_directions
from skelanon.sensors.joints import BONES

_BONES = list(BONES)

REACH_M: Final = 64.0
"""Coordinates are clamped to this: within it float32 keeps every bone's length to 1e-5 m, whatever comes in."""
HINT_M: Final = 1e-12
"""Each bone is lengthened so much in its rest direction, which decides alone where a raw bone has no length."""


def constant(values: ArrayLike) -> Tensor:
    """A float32 tensor of values that were computed in double precision."""
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def joints_to_bones() -> Tensor:
    """(75, 72) float32: `joints @ joints_to_bones()` gives bones. Exact: each bone is one subtraction."""
    return _on_rows(difference_matrix()[_BONES])


def bones_to_joints(lengths: ArrayLike) -> Tensor:
    """(72, 75) float32: `directions @ bones_to_joints(lengths)` gives joints relative to SpineBase.

    lengths: (25,), metres: the bone that ends at each joint.
    """
    return _on_rows((ancestor_matrix() * np.asarray(lengths))[:, _BONES])


def sum_of_coordinates() -> Tensor:
    """(72, 72) float32: `bones ** 2 @ sum_of_coordinates()` gives each bone's squared length, three times over."""
    return constant(np.kron(np.eye(len(BONES)), np.ones((3, 3))))


def unit_directions(rows: Tensor, to_bones: Tensor, hint: Tensor, to_squared_lengths: Tensor) -> Tensor:
    """Rows of joints (N, 75), within `REACH_M`, to the unit vectors (N, 72) of their bones; matrices as made here."""
    bones = torch.addmm(hint, rows, to_bones)
    return bones / ((bones * bones) @ to_squared_lengths).sqrt()


def hint_of_rest() -> Tensor:
    """(72,) float32: each bone in its rest direction, too short to matter but where a raw bone has no length."""
    return constant(HINT_M * rest_directions()[_BONES].ravel())


def _on_rows(matrix: ArrayLike) -> Tensor:
    """A matrix that acts on joints (25, 3) from the left, as one that acts on rows from the right."""
    return constant(np.kron(np.asarray(matrix), np.eye(3)).T)
