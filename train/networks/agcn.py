"""The joint stream of 2s-AGCN (arXiv 1805.07694). State-dict names are those of the public network.

Shapes: N samples, C channels, T frames, V joints, M bodies, K = 3 partitions, E channels of an embedding.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from skelanon.sensors.joints import JOINTS

from .graph import inward_outward
from .ms_g3d_blocks import TemporalConv

LAYERS = ((3, 64, 1), *[(64, 64, 1)] * 3, (64, 128, 2), *[(128, 128, 1)] * 2, (128, 256, 2), *[(256, 256, 1)] * 2)
"""(channels, channels out, stride) of each layer."""


class AdaptiveGraphConv(nn.Module):
    """The adaptive graph convolutional layer: each partition's graph is the skeleton's, plus a learned,
    plus an attended one.

    (N, C, T, V) to (N, C', T, V). The K convolutions of a kind are computed as one.
    """

    adjacency: Tensor

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        graphs = torch.tensor(inward_outward(), dtype=torch.float32)  # (K, V, V)
        self.register_buffer("adjacency", graphs, persistent=False)
        self.PA = nn.Parameter(torch.full_like(graphs, 1e-6))
        self.conv_a, self.conv_b, self.conv_d = (
            nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in graphs) for width in (out // 4, out // 4, out)
        )
        same = channels == out
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self._embedded(x, self.conv_a), self._embedded(x, self.conv_b)  # (N, K, E, T, V)
        # divided before the product, whose sum over all channels and frames would overflow float16
        alike = torch.einsum("nketv,nketw->nkvw", a / (a.shape[2] * a.shape[3]), b)
        graphs = alike.softmax(2) + self.adjacency + self.PA  # (N, K, V, V)
        gathered = torch.einsum("nctv,nkvw->nkctw", x, graphs).flatten(1, 2)  # (N, K * C, T, V)
        weights, biases = _weights(self.conv_d)
        mixed = self.bn(conv2d(gathered, torch.cat(weights, 1), torch.stack(biases).sum(0)))
        out: Tensor = (mixed + self.down(x)).relu()
        return out

    @staticmethod
    def _embedded(x: Tensor, convolutions: nn.ModuleList) -> Tensor:
        weights, biases = _weights(convolutions)
        side_by_side = conv2d(x, torch.cat(weights), torch.cat(biases))  # (N, K * E, T, V)
        return side_by_side.reshape(len(x), len(convolutions), -1, *x.shape[2:])


def _weights(convolutions: nn.ModuleList) -> tuple[list[Tensor], list[Tensor]]:
    """The weights and the biases of all."""
    parameters = list(convolutions.parameters())
    return list(parameters[::2]), list(parameters[1::2])


class Layer(nn.Module):
    """A graph convolution, one over 9 frames, a residual: (N, C, T, V) to (N, C', ceil(T / stride), V).

    The layer that takes coordinates has no residual.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.gcn1 = AdaptiveGraphConv(channels, out)
        self.tcn1 = TemporalConv(out, out, 9, stride)
        self.residual: nn.Module | None = None
        if channels != 3:
            same = channels == out and stride == 1
            self.residual = nn.Identity() if same else TemporalConv(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tcn1(self.gcn1(x))
        return (out if self.residual is None else out + self.residual(x)).relu()


class Agcn(nn.Module):
    """2s-AGCN, joint stream.

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
    elif isinstance(module, AdaptiveGraphConv):  # after its convolutions
        weights, _ = _weights(module.conv_d)
        for weight in weights:
            nn.init.normal_(weight, std=math.sqrt(2 / (weight.shape[0] * weight.shape[1] * len(weights))))
        nn.init.constant_(module.bn.weight, 1e-6)
