"""SGN, semantics-guided networks (arXiv 1904.01189). State-dict names are those of the public network.

Shapes: N samples, C channels, V joints, T = 20 frames, M bodies. Time lies innermost, (N, C, V, T).
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS

FRAMES: Final = 20
"""Frames that the network sees of a clip."""
DROPOUT = 0.2


class Norm(nn.Module):
    """Batch norm of each coordinate of each joint: (N, 3, V, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3 * JOINTS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(x.flatten(1, 2))
        return out.view_as(x)


class Pointwise(nn.Module):
    """A 1x1 convolution: (N, C, V, T) to (N, C', V, T)."""

    def __init__(self, channels: int, out: int, bias: bool = True) -> None:
        super().__init__()
        self.cnn = nn.Conv2d(channels, out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cnn(x)
        return out


class Embedding(nn.Module):
    """Two 1x1 convolutions, each with ReLU (equation 1), of normalised coordinates or of a one-hot code."""

    def __init__(self, channels: int, out: int, *first: nn.Module) -> None:
        super().__init__()
        self.cnn = nn.Sequential(*first, Pointwise(channels, 64), nn.ReLU(), Pointwise(64, out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cnn(x)
        return out


class Affinity(nn.Module):
    """How joints attend to each other in each frame (equation 2): (N, C, V, T) to (N, T, V, V), [to, from]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.g1, self.g2 = Pointwise(channels, out), Pointwise(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        alike: Tensor = self.g1(x).permute(0, 3, 2, 1) @ self.g2(x).permute(0, 3, 1, 2)
        return alike.softmax(-1)


class GraphConv(nn.Module):
    """A residual graph convolution (equation 3): x (N, C, V, T) and graphs (N, T, V, V) to (N, C', V, T)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(out)
        self.w, self.w1 = Pointwise(channels, out, bias=False), Pointwise(channels, out)

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        gathered = (graphs @ x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        out: Tensor = self.bn(self.w(gathered) + self.w1(x))
        return out.relu()


class FrameLevel(nn.Module):
    """The frame-level module: the maximum over joints, then two convolutions: (N, C, V, T) to (N, C', 1, T)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.cnn1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm2d(channels)
        self.cnn2 = nn.Conv2d(channels, out, 1)
        self.bn2 = nn.BatchNorm2d(out)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.cnn1(x.amax(2, keepdim=True))).relu()
        out: Tensor = self.bn2(self.cnn2(self.dropout(x)))
        return out.relu()


class Sgn(nn.Module):
    """SGN, on 20 frames of each body.

    forward: clips (N, 3, T, 25, M) float32, metres, zeros where nobody is; to logits (N, classes), the mean over the
    bodies that are there. A clip is cut into 20 equal segments, of which the middle frame counts, or a random one
    in training; a shorter clip repeats frames. No weight depends on M: `bodies` is there because the other networks
    take it, and any M goes.
    """

    joint_codes: Tensor
    frame_codes: Tensor

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__()
        self.register_buffer("joint_codes", torch.eye(JOINTS)[None, :, :, None], persistent=False)  # (1, V, V, 1)
        self.register_buffer("frame_codes", torch.eye(FRAMES)[None, :, None, :], persistent=False)  # (1, T, 1, T)
        self.tem_embed, self.spa_embed = Embedding(FRAMES, 256), Embedding(JOINTS, 64)
        self.joint_embed, self.dif_embed = Embedding(3, 64, Norm()), Embedding(3, 64, Norm())
        self.compute_g1 = Affinity(128, 256)
        self.gcn1, self.gcn2, self.gcn3 = GraphConv(128, 128), GraphConv(128, 256), GraphConv(256, 256)
        self.cnn = FrameLevel(256, 512)
        self.fc = nn.Linear(512, classes)
        self.apply(_initialise)

    def forward(self, clips: Tensor) -> Tensor:
        there = (clips != 0).flatten(1, 3).any(1)  # (N, M)
        first = torch.arange(there.shape[1], device=clips.device) == 0
        there = there | (first & ~there.any(1, keepdim=True))  # an empty clip is still a sample
        frames = self._selected(clips).permute(0, 4, 2, 3, 1).flatten(3)  # (N, M, T, V * C)
        if torch.compiler.is_exporting():  # a graph of fixed shapes: all are classified, and count where they are there
            logits = self.classify_frames(frames.flatten(0, 1)).reshape(*there.shape, -1) * there[..., None]
        else:
            of_bodies = self.classify_frames(frames[there])
            logits = of_bodies.new_zeros(*there.shape, of_bodies.shape[1])
            logits[there] = of_bodies
        return logits.sum(1) / there.sum(1, keepdim=True)

    def classify_frames(self, frames: Tensor) -> Tensor:
        """The public network: one body's frames (N, 20, 75) float32, metres, feature joint * 3 + axis, to logits."""
        x = frames.reshape(-1, FRAMES, JOINTS, 3).permute(0, 3, 2, 1)  # (N, C, V, T)
        velocity = torch.nn.functional.pad(x.diff(dim=3), (1, 0))
        dynamics = self.joint_embed(x) + self.dif_embed(velocity)
        joints = self.spa_embed(self.joint_codes).expand_as(dynamics)
        x = torch.cat([dynamics, joints], 1)
        graphs = self.compute_g1(x)
        x = self.gcn3(self.gcn2(self.gcn1(x, graphs), graphs), graphs) + self.tem_embed(self.frame_codes)
        logits: Tensor = self.fc(self.cnn(x).amax((2, 3)))
        return logits

    def _selected(self, clips: Tensor) -> Tensor:
        """(N, 3, T, V, M) to (N, 3, 20, V, M)"""
        samples, axes, length, *rest = clips.shape
        within = torch.full((samples, FRAMES), 0.5, device=clips.device)
        if self.training:
            within.uniform_()
        segments = torch.arange(FRAMES, device=clips.device)
        times = ((segments + within) * length / FRAMES).long().clamp(max=length - 1)
        return clips.gather(2, times[:, None, :, None, None].expand(samples, axes, FRAMES, *rest))


def _initialise(module: nn.Module) -> None:
    """The public code's initial weights: a new graph convolution passes on its input alone."""
    if isinstance(module, nn.Conv2d):
        outputs = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2 / outputs))
    elif isinstance(module, GraphConv):
        nn.init.zeros_(module.w.cnn.weight)
