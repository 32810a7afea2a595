"""Networks that attack, and what they see. Shapes: N sequences, T frames, F features of a frame."""

from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from skelanon.audit.view import View
from skelanon.configs.training import Network
from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES, JOINTS
from skelanon.train.networks import create_network

Layout = Literal["features", "clips"]

FEATURES: Final = 3 * JOINTS + len(BONES) + 3
"""Of a frame: joints, bone lengths, place."""


def features(view: View) -> Tensor:
    """(N, T, F): joints as the view has them, bone lengths, place of the root."""
    faced = torch.from_numpy(np.ascontiguousarray(view.faced))
    bones = torch.tensor(difference_matrix()[list(BONES)], dtype=torch.float32) @ faced
    return torch.cat([faced.flatten(2), bones.norm(dim=3), torch.from_numpy(np.ascontiguousarray(view.place))], 2)


def clips(view: View) -> Tensor:
    """(N, T, 25, 3), for networks on the skeleton's graph."""
    return torch.from_numpy(np.ascontiguousarray(view.faced))


class FrameNetwork(nn.Module):
    """Single frames: (N, 1, F) to (N, outputs)."""

    def __init__(self, outputs: int, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(FEATURES),
            nn.Linear(FEATURES, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x[:, 0])
        return logits


class TemporalCnn(nn.Module):
    """Residual dilated convolutions over time: (N, T, F) to (N, outputs). Means and maxima over time decide."""

    def __init__(self, outputs: int, width: int = 128) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(2 * FEATURES)
        self.enter = nn.Conv1d(2 * FEATURES, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in (1, 2, 4))
        self.leave = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.leave(self.embed(x))
        return logits

    def embed(self, x: Tensor) -> Tensor:
        """(N, 2 * width): what decides."""
        x = self.follow(x)
        return torch.cat([x.mean(2), x.amax(2)], 1)

    def follow(self, x: Tensor) -> Tensor:
        """(N, width, T): what is seen in each frame and around it."""
        velocity = torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:] - x[:, :-1]], 1)
        x = relu(self.enter(self.standardise(torch.cat([x, velocity], 2).mT)))  # (N, width, T)
        for block in self.blocks:
            x = block(x)
        return x


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.layers(x))


class OnGraph(nn.Module):
    """A skeleton network of `train/networks`: (N, T, 25, 3) to (N, outputs)."""

    def __init__(self, name: Network, outputs: int) -> None:
        super().__init__()
        self.network = create_network(name, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.permute(0, 3, 1, 2)[..., None])
        return logits
