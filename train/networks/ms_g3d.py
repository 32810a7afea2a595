"""MS-G3D (arXiv 2003.14111), with and without its G3D branch. State-dict names are those of the public network."""

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS

from .ms_g3d_blocks import FactorisedBranch, MultiScaleTemporalConv, MultiWindowGraphConv

HOPS = 13
"""Scales of a spatial graph convolution: 0 to 12 hops."""
WINDOWED_HOPS = 6
"""Scales of a graph convolution across space and time."""
WIDTHS = (96, 192, 384)


class MsG3dWithoutG3d(nn.Module):
    """MS-G3D without its G3D branch, as the gender classifier of arXiv 2111.15129 has it.

    forward: clips (N, 3, T, 25, M) float32, metres, M = `bodies`, zeros where nobody is; to logits (N, classes).
    Any T; an absent body counts in the mean over bodies. Raises RuntimeError when M is another.
    """

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__()
        self.data_bn = nn.BatchNorm1d(bodies * JOINTS * 3)
        first, second, third = WIDTHS
        self.sgcn1 = FactorisedBranch(3, first, first, HOPS, stride=1)
        self.tcn1 = MultiScaleTemporalConv(first, first)
        self.sgcn2 = FactorisedBranch(first, first, second, HOPS, stride=2)
        self.tcn2 = MultiScaleTemporalConv(second, second)
        self.sgcn3 = FactorisedBranch(second, second, third, HOPS, stride=2)
        self.tcn3 = MultiScaleTemporalConv(third, third)
        self.fc = nn.Linear(third, classes)

    def forward(self, clips: Tensor) -> Tensor:
        samples, _, _, joints, bodies = clips.shape
        x = self.data_bn(clips.permute(0, 4, 3, 1, 2).flatten(1, 3))  # (N, M * V * C, T)
        x = x.reshape(samples * bodies, joints, 3, -1).permute(0, 2, 3, 1)  # (N * M, C, T, V)
        x = self.blocks(x.contiguous(memory_format=torch.channels_last))  # the blocks keep it: no copies between them
        x = x.mean((2, 3)).reshape(samples, bodies, -1).mean(1)  # (N, C)
        logits: Tensor = self.fc(x)
        return logits

    def blocks(self, x: Tensor) -> Tensor:
        """(N * M, 3, T, V) to (N * M, 384, ceil(ceil(T / 2) / 2), V)."""
        x = self.tcn1(self.sgcn1(x).relu())
        x = self.tcn2(self.sgcn2(x).relu())
        out: Tensor = self.tcn3(self.sgcn3(x).relu())
        return out


class MsG3d(MsG3dWithoutG3d):
    """MS-G3D, joint stream: 13 scales in space, 6 across space and time, windows of 3 and 5 frames.

    forward: clips (N, 3, T, 25, M) float32, metres, M = `bodies`, zeros where nobody is; to logits (N, classes).
    Any T; an absent body counts in the mean over bodies. Raises RuntimeError when M is another.
    """

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__(classes, bodies)
        first, second, third = WIDTHS
        self.gcn3d1 = MultiWindowGraphConv(3, first, WINDOWED_HOPS, stride=1)
        self.gcn3d2 = MultiWindowGraphConv(first, second, WINDOWED_HOPS, stride=2)
        self.gcn3d3 = MultiWindowGraphConv(second, third, WINDOWED_HOPS, stride=2)

    def blocks(self, x: Tensor) -> Tensor:
        """(N * M, 3, T, V) to (N * M, 384, ceil(ceil(T / 2) / 2), V): the sum of both branches goes on."""
        x = self.tcn1((self.sgcn1(x) + self.gcn3d1(x)).relu())
        x = self.tcn2((self.sgcn2(x) + self.gcn3d2(x)).relu())
        out: Tensor = self.tcn3((self.sgcn3(x) + self.gcn3d3(x)).relu())
        return out
