"""CTR-GCN (arXiv 2107.12213), joint stream. State-dict names are those of the public network.

Shapes: N samples, C channels, T frames, V joints, M bodies, K = 3 partitions, R channels of a relation.
"""

import torch
from torch import Tensor, nn

from .graph import inward_outward
from .ms_g3d_blocks import TemporalConv, narrowed, pointwise
from .stack import Layer, LayeredNetwork

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
            nn.Sequential(*narrowed(channels, width), nn.ReLU(), TemporalConv(width, width, 5, stride, dilation))
            for dilation in DILATIONS
        )
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*narrowed(channels, width), nn.ReLU(), largest, nn.BatchNorm2d(width)))
        self.branches.append(nn.Sequential(*narrowed(channels, width, stride)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class CtrGcn(LayeredNetwork):
    """CTR-GCN, joint stream; `forward` as in `LayeredNetwork`."""

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__(_layer, classes, bodies)

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """A new graph convolution passes on little but its residual."""
        LayeredNetwork.initialise(module)
        if isinstance(module, RefinedGraphConv):
            nn.init.constant_(module.bn.weight, 1e-6)


def _layer(channels: int, out: int, stride: int) -> Layer:
    graph = RefinedGraphConv(channels, out)
    return Layer(graph, MultiScaleTemporalConv(out, stride), pointwise, channels, out, stride)
