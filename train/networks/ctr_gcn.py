"""CTR-GCN (arXiv 2107.12213), joint stream. State-dict names are those of the public network.

Shapes: N samples, C channels, T frames, V joints, M bodies, K = 3 partitions, R channels of a relation.
"""

import math

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS

from .graph import inward_outward
from .ms_g3d_blocks import TemporalConv

LAYERS = ((3, 64, 1), *[(64, 64, 1)] * 3, (64, 128, 2), *[(128, 128, 1)] * 2, (128, 256, 2), *[(256, 256, 1)] * 2)
"""(channels, channels out, stride) of each layer."""
DILATIONS = (1, 2)


class Refinement(nn.Module):
    """One partition: the shared graph (V, V), [to, from], refined for each channel by how the joints of x relate.

    x (N, C, T, V) and its mean over frames (N, C, 1, V) to (N, C', T, V).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        relations = 8 if channels == 3 else channels // 8
        self.conv1, self.conv2 = nn.Conv2d(channels, relations, 1), nn.Conv2d(channels, relations, 1)
        self.conv3, self.conv4 = nn.Conv2d(channels, out, 1), nn.Conv2d(relations, out, 1)

    def forward(self, x: Tensor, mean: Tensor, shared: Tensor, alpha: Tensor) -> Tensor:
        # a 1x1 convolution of the mean is the mean of the convolution
        difference = self.conv1(mean).transpose(2, 3) - self.conv2(mean)  # (N, R, V, V), [to, from]
        graphs = shared + alpha * self.conv4(difference.tanh())  # (N, C', V, V)
        out: Tensor = self.conv3(x) @ graphs.transpose(2, 3)
        return out


class RefinedGraphConv(nn.Module):
    """The channel-wise topology refinement graph convolution: (N, C, T, V) to (N, C', T, V).

    Each channel has a graph of its own: the shared, learned one of its partition, refined by what this clip relates.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.PA = nn.Parameter(torch.tensor(inward_outward(), dtype=torch.float32))  # (K, V, V), [to, from]
        self.alpha = nn.Parameter(torch.zeros(1))
        self.convs = nn.ModuleList(Refinement(channels, out) for _ in self.PA)
        same = channels == out
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(2, keepdim=True)
        one, two, three = (conv(x, mean, shared, self.alpha) for conv, shared in zip(self.convs, self.PA, strict=True))
        out: Tensor = self.bn(one + two + three) + self.down(x)
        return out.relu()


class MultiScaleTemporalConv(nn.Module):
    """Four branches side by side, each of a quarter of the channels: (N, C, T, V) to (N, C, ceil(T / stride), V).

    Two dilated convolutions over 5 frames, a maximum over three and a 1x1 convolution, without activation.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // (len(DILATIONS) + 2)
        self.branches = nn.ModuleList(
            nn.Sequential(*_narrowed(channels, width), nn.ReLU(), TemporalConv(width, width, 5, stride, dilation))
            for dilation in DILATIONS
        )
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*_narrowed(channels, width), nn.ReLU(), largest, nn.BatchNorm2d(width)))
        self.branches.append(nn.Sequential(*_narrowed(channels, width, stride)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _narrowed(channels: int, width: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, width, 1, (stride, 1)), nn.BatchNorm2d(width)


class Layer(nn.Module):
    """A graph convolution, one over frames, a residual: (N, C, T, V) to (N, C', ceil(T / stride), V).

    The layer that takes coordinates has no residual.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.gcn1 = RefinedGraphConv(channels, out)
        self.tcn1 = MultiScaleTemporalConv(out, stride)
        self.residual: nn.Module | None = None
        if channels != 3:
            same = channels == out and stride == 1
            self.residual = nn.Identity() if same else TemporalConv(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tcn1(self.gcn1(x))
        return (out if self.residual is None else out + self.residual(x)).relu()


class CtrGcn(nn.Module):
    """CTR-GCN, joint stream.

    forward: clips (N, 3, T, 25, M) float32, metres, M = `bodies`, zeros where nobody is; to logits (N, classes).
    Any T; an absent body counts in the mean over bodies. Raises RuntimeError when M is another.
    """

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__()
        self.data_bn = nn.BatchNorm1d(bodies * JOINTS * 3)
        for i, layer in enumerate(LAYERS, 1):
            self.add_module(f"l{i}", Layer(*layer))
        self.fc = nn.Linear(LAYERS[-1][1], classes)
        self.apply(_initialise)
        nn.init.normal_(self.fc.weight, std=math.sqrt(2 / classes))

    def forward(self, clips: Tensor) -> Tensor:
        samples, _, _, joints, bodies = clips.shape
        x = self.data_bn(clips.permute(0, 4, 3, 1, 2).flatten(1, 3))  # (N, M * V * C, T)
        x = x.reshape(samples * bodies, joints, 3, -1).permute(0, 2, 3, 1)  # (N * M, C, T, V)
        for i in range(1, len(LAYERS) + 1):
            x = self.get_submodule(f"l{i}")(x)
        x = x.mean((2, 3)).reshape(samples, bodies, -1).mean(1)  # (N, C)
        logits: Tensor = self.fc(x)
        return logits


def _initialise(module: nn.Module) -> None:
    """The public code's initial weights: a new graph convolution passes on little but its residual."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, RefinedGraphConv):
        nn.init.constant_(module.bn.weight, 1e-6)
