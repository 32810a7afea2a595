"""The noise baseline: what privacy costs when it is bought with nothing but noise.

The audit's list is a true standard deviation of .001 .005 .01 .02 .05 .1 m. The rows with the same labels in
"Anonymization for Skeleton Action Recognition" (AAAI 2023) lose so much that the label is almost surely the variance.
"""

import math

import torch
from torch import Tensor, nn

from skelanon.train.errors import TrainingError


class Noise(nn.Module):
    """Adds independent Gaussian noise to each coordinate of each joint of the bodies that are there.

    std_m: its standard deviation (not the variance) in metres. seed: decides all noise, on any device; each call goes
    on where the last one ended, so that the same clips in the same order give the same result.
    Raises TrainingError: `std_m` is not a finite number >= 0.
    """

    def __init__(self, std_m: float, seed: int) -> None:
        super().__init__()
        if not 0 <= std_m < math.inf:
            raise TrainingError(f"`std_m` is {std_m}: a standard deviation in metres is finite and not negative")
        self.std_m = std_m
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, joints: Tensor, present: Tensor) -> Tensor:
        """joints: (N, T, P, 25, 3) float32, metres, any axes. present: (N, T, P), 1 where a body is. Same shape."""
        noise = torch.randn(joints.shape, generator=self._generator).to(joints)
        return (joints + self.std_m * noise) * present[..., None, None]
