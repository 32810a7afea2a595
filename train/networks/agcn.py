"""The joint stream of 2s-AGCN (arXiv 1805.07694). State-dict names are those of the public network.

Shapes: N samples, C channels, T frames, V joints, M bodies, K = 3 partitions, E channels of an embedding.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from .graph import inward_outward
from .ms_g3d_blocks import TemporalConv, pointwise
from .stack import Layer, LayeredNetwork


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
        return side_by_side.reshape(x.shape[0], len(convolutions), -1, *x.shape[2:])


def _weights(convolutions: nn.ModuleList) -> tuple[list[Tensor], list[Tensor]]:
    """The weights and the biases of all."""
    parameters = list(convolutions.parameters())
    return list(parameters[::2]), list(parameters[1::2])


class Agcn(LayeredNetwork):
    """2s-AGCN, joint stream; `forward` as in `LayeredNetwork`."""

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__(_layer, classes, bodies)

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """A new graph convolution passes on little but its residual."""
        LayeredNetwork.initialise(module)
        if isinstance(module, AdaptiveGraphConv):  # after its convolutions
            weights, _ = _weights(module.conv_d)
            for weight in weights:
                nn.init.normal_(weight, std=math.sqrt(2 / (weight.shape[0] * weight.shape[1] * len(weights))))
            nn.init.constant_(module.bn.weight, 1e-6)


def _layer(channels: int, out: int, stride: int) -> Layer:
    graph = AdaptiveGraphConv(channels, out)
    return Layer(graph, TemporalConv(out, out, 9, stride), pointwise, channels, out, stride)
