"""ST-GCN (arXiv 1801.07455), spatial partition, edge importance. State-dict names are those of the public network.

Shapes: N samples, C channels, T frames, V joints, M bodies, K = 3 partitions.
"""

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS

from .graph import spatial_partition

LAYERS = ((3, 64, 1), *[(64, 64, 1)] * 3, (64, 128, 2), *[(128, 128, 1)] * 2, (128, 256, 2), *[(256, 256, 1)] * 2)
"""(channels, channels out, stride) of each layer."""
DROPOUT = 0.5
"""After each layer but the first; the paper's."""


class PartitionedGraphConv(nn.Module):
    """A 1x1 convolution for each partition, each gathered along its own edges, and their sum.

    x (N, C, T, V) and graphs (K, V, V), entry [from, to], to (N, C', T, V).
    """

    def __init__(self, channels: int, out: int, partitions: int) -> None:
        super().__init__()
        self.partitions = partitions
        self.conv = nn.Conv2d(channels, out * partitions, 1)

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        mixed = self.conv(x).reshape(x.shape[0], self.partitions, -1, *x.shape[2:])  # (N, K, C', T, V)
        return torch.einsum("nkctv,kvw->nctw", mixed, graphs)


class Layer(nn.Module):
    """A graph convolution, one over 9 frames, a residual: (N, C, T, V) to (N, C', ceil(T / stride), V).

    The layer that takes coordinates has neither residual nor dropout.
    """

    def __init__(self, channels: int, out: int, stride: int, partitions: int) -> None:
        super().__init__()
        first = channels == 3
        self.gcn = PartitionedGraphConv(channels, out, partitions)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, (9, 1), (stride, 1), (4, 0)),
            nn.BatchNorm2d(out),
            nn.Dropout(0.0 if first else DROPOUT),
        )
        self.residual: nn.Module | None = None
        if not first:
            narrow = nn.Sequential(nn.Conv2d(channels, out, 1, (stride, 1)), nn.BatchNorm2d(out))
            self.residual = nn.Identity() if channels == out and stride == 1 else narrow

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        out: Tensor = self.tcn(self.gcn(x, graphs))
        return (out if self.residual is None else out + self.residual(x)).relu()


class StGcn(nn.Module):
    """ST-GCN.

    forward: clips (N, 3, T, 25, M) float32, metres, zeros where nobody is; to logits (N, classes).
    Any T; an absent body counts in the mean over bodies. No weight depends on M: `bodies` is there because the other
    networks take it, and any M goes.
    """

    A: Tensor

    def __init__(self, classes: int, bodies: int = 2) -> None:
        super().__init__()
        graphs = torch.tensor(spatial_partition(), dtype=torch.float32)  # (K, V, V)
        self.register_buffer("A", graphs)
        self.data_bn = nn.BatchNorm1d(JOINTS * 3)
        self.st_gcn_networks = nn.ModuleList(Layer(*layer, len(graphs)) for layer in LAYERS)
        self.edge_importance = nn.ParameterList(torch.ones_like(graphs) for _ in LAYERS)
        self.fcn = nn.Conv2d(LAYERS[-1][1], classes, 1)

    def forward(self, clips: Tensor) -> Tensor:
        samples, _, frames, joints, bodies = clips.shape
        x = self.data_bn(clips.permute(0, 4, 3, 1, 2).reshape(samples * bodies, -1, frames))  # (N * M, V * C, T)
        x = x.reshape(-1, joints, 3, frames).permute(0, 2, 3, 1)  # (N * M, C, T, V)
        for layer, importance in zip(self.st_gcn_networks, self.edge_importance, strict=True):
            x = layer(x, self.A * importance)
        x = x.mean((2, 3)).reshape(samples, bodies, -1).mean(1)  # (N, C)
        logits: Tensor = self.fcn(x[:, :, None, None]).flatten(1)
        return logits
