"""Shift-GCN (Cheng et al., CVPR 2020) in plain torch. State-dict names are those of the public network.

Shapes: N samples, C channels, T frames, V joints, M bodies. Time lies innermost, (N, C, V, T): both shifts then move
whole rows or along them.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from skelanon.sensors.joints import JOINTS

from .stack import Layer, LayeredNetwork


class SpatialShift(nn.Module):
    """The non-local shift graph convolution (section 4.1): (N, C, V, T) to (N, C', V, T).

    Channel c of a joint comes from the joint c places on, a 1x1 convolution follows, and channels go back. `shift_in`
    and `shift_out` are (V * C), (V * C'): the source of each number of a frame, counted as joint * channels + channel.
    """

    shift_in: Tensor
    shift_out: Tensor

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.Linear_weight = nn.Parameter(torch.randn(channels, out) / math.sqrt(out))
        self.Linear_bias = nn.Parameter(torch.zeros(1, 1, out))
        self.Feature_Mask = nn.Parameter(torch.zeros(1, JOINTS, channels))
        self.register_buffer("shift_in", _sources(channels, 1))
        self.register_buffer("shift_out", _sources(out, -1))
        self.bn = nn.BatchNorm1d(JOINTS * out)
        same = channels == out
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        channels, out = self.Linear_weight.shape
        inwards = _rows(self.shift_in, channels).reshape(JOINTS, channels).t().flatten()
        shifted = x.flatten(1, 2).index_select(1, inwards).view_as(x)
        shifted = shifted * (self.Feature_Mask.tanh() + 1).transpose(1, 2)[..., None]
        mixed = conv2d(shifted, self.Linear_weight.t()[:, :, None, None], self.Linear_bias.flatten())
        back = mixed.flatten(1, 2).index_select(1, _rows(self.shift_out, out))  # (N, V * C', T), as `bn` counts
        back = self.bn(back).reshape(x.shape[0], JOINTS, out, -1).transpose(1, 2)
        moved: Tensor = self.down(x) + back
        return moved.relu()


def _sources(channels: int, sign: int) -> Tensor:
    """(V * C) int64: number joint * C + channel of a frame comes from the joint `sign * channel` places on."""
    joint, channel = torch.arange(JOINTS)[:, None], torch.arange(channels)
    return ((joint + sign * channel) % JOINTS * channels + channel).flatten()


def _rows(sources: Tensor, channels: int) -> Tensor:
    """joint * C + channel as channel * V + joint."""
    return sources % channels * JOINTS + sources // channels


class TemporalShift(nn.Module):
    """The adaptive temporal shift (section 4.2): (N, C, V, T) to (N, C, V, T // stride).

    Channel c of frame t is that of the time t * stride + ypos[c] (+ 0.5 when the stride is 2), interpolated linearly
    between frames, with frames of zeros around the clip. The gradient in `ypos` is the derivative of that, to the right
    where ypos lies on a frame. `xpos`, a shift of joints, is in public checkpoints: it has no effect, and no gradient.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.xpos = nn.Parameter(torch.zeros(channels))
        self.ypos = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[-1]
        ypos = self.ypos + 0.5 if self.stride == 2 else self.ypos
        whole = ypos.detach().floor()
        needed = frames + 1 if self.stride == 1 else frames // 2 * 2  # at stride 2 each is used once
        times = whole.long()[:, None, None] + torch.arange(needed, device=x.device)  # (C, 1, T')
        inside = times.clamp(0, frames - 1).expand(*x.shape[:-1], needed)  # strides of 0: no memory
        moved = x.gather(-1, inside).masked_fill_((times < 0) | (times >= frames), 0)
        before, after = (
            (moved[..., :-1], moved[..., 1:]) if self.stride == 1 else moved.reshape(*x.shape[:-1], -1, 2).unbind(-1)
        )
        return torch.lerp(before, after, (ypos - whole).to(x.dtype)[:, None, None])


class ShiftedTemporalConv(nn.Module):
    """Shift, 1x1 convolution, ReLU, shift between two batch norms: (N, C, V, T) to (N, C, V, T // stride)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.bn, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.shift_in, self.shift_out = TemporalShift(channels), TemporalShift(channels, stride)
        self.temporal_linear = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.temporal_linear(self.shift_in(self.bn(x)))
        out: Tensor = self.bn2(self.shift_out(mixed.relu()))
        return out


class Narrowing(nn.Module):
    """The residual of a layer that changes shape: (N, C, V, T) to (N, C', V, T // stride)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1, (1, stride))
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class ShiftGcn(LayeredNetwork):
    """Shift-GCN; `forward` as in `LayeredNetwork`, but for T: raises ValueError when it is not divisible by 4."""

    axes = (0, 2, 1, 3)

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__(_layer, classes, bodies)

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.shape[2]
        if frames == 0 or frames % 4:
            raise ValueError(
                f"Shift-GCN halves a clip twice: {frames} frames are not divisible by 4, set `data.frames`"
            )
        return super().forward(clips)


def _layer(channels: int, out: int, stride: int) -> Layer:
    return Layer(SpatialShift(channels, out), ShiftedTemporalConv(out, stride), Narrowing, channels, out, stride)
