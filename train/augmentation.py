"""How a classifier's training clips differ from what was recorded, so that it knows an action by how bodies move.

The networks of a small set take whatever moved by a centimetre, or has other proportions, for something else.
"""

import torch
from torch import Tensor

from skelanon.sensors.body import ancestor_matrix, difference_matrix

from .anonymizers.kinematics import constant


def resized(joints: Tensor, spread: float) -> Tensor:
    """Clips (N, T, P, 25, 3) of bodies with other proportions: SpineBase stays, bones keep their directions.

    Each bone of each body is exp(spread * z) times as long through its clip, z standard normal. An absent body, all
    zeros, stays absent.
    """
    n, _, p, v, _ = joints.shape
    factors = (spread * torch.randn(n, 1, p, v, 1, device=joints.device)).exp()
    bones = constant(difference_matrix()).to(joints) @ joints  # (N, T, P, V, C)
    return joints + constant(ancestor_matrix()).to(joints) @ (bones * (factors - 1))


def displaced(joints: Tensor, present: Tensor, most_m: float, *, through: bool) -> Tensor:
    """Clips (N, T, P, 25, 3) with Gaussian noise of a standard deviation between 0 and `most_m`, drawn for each clip.

    present: (N, T, P), 1 where a body is there. through: a joint is displaced alike through its clip.
    """
    std = most_m * torch.rand(len(joints), 1, 1, 1, 1, device=joints.device)
    noise = torch.randn_like(joints[:, :1] if through else joints)
    return joints + std * noise * present[..., None, None]
