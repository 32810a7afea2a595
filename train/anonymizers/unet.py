"""The U-Net anonymizer of "Anonymization for Skeleton Action Recognition" (AAAI 2023), for whole clips: offline only.

The network is that of Ronneberger et al., "U-Net" (arXiv 1505.04597), as it is commonly built today: padded
convolutions and batch normalisation.
"""

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from skelanon.train.errors import TrainingError

WIDTHS: Final = (64, 128, 256, 512, 1024)
"""Channels at each level; each is half as long and half as wide as the one above."""
SHORTEST: Final = 2 ** (len(WIDTHS) - 1)
"""Frames that the lowest level needs."""


class UNet(nn.Module):
    """Clips (N, 3, T, 25, M) float32, metres, normalised axes, to the same: a clip is an image of T by 25 M pixels.

    Nothing of the input is added to the output. An absent body comes out as something else than zeros: mask it.

    On the way up a learned (transposed) convolution doubles a map, as in the original; where halving dropped a last row
    or column (T = 300, V * M = 25 or 50), zeros are added up to the size of the map that it is joined with.

    Each output frame depends on frames after it, so this is no StreamModule and cannot be exported to a stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_twice(start, end) for start, end in pairwise((3, *WIDTHS)))
        self.halve = nn.MaxPool2d(2)
        upwards = list(pairwise(WIDTHS[::-1]))
        self.widen = nn.ModuleList(nn.ConvTranspose2d(start, end, 2, stride=2) for start, end in upwards)
        self.up = nn.ModuleList(_twice(start, end) for start, end in upwards)
        self.out = nn.Conv2d(WIDTHS[0], 3, 1)

    def forward(self, clips: Tensor) -> Tensor:
        """Anonymize clips. Raises TrainingError: they are shorter than 16 frames."""
        if clips.shape[2] < SHORTEST:
            raise TrainingError(
                f"the U-Net needs clips of {SHORTEST} frames or more, these have {clips.shape[2]}: see `data.frames`"
            )
        x = self.down[0](clips.flatten(3))  # (N, 64, T, V * M)
        skipped = []
        for layer in self.down[1:]:
            skipped.append(x)
            x = layer(self.halve(x))
        for widen, layer in zip(self.widen, self.up, strict=True):
            x = layer(_joined(skipped.pop(), widen(x)))
        anonymous: Tensor = self.out(x)  # (N, 3, T, V * M)
        return anonymous.reshape(clips.shape)


def _twice(start: int, end: int) -> nn.Sequential:
    """Two convolutions, each normalised and rectified."""
    return nn.Sequential(
        *(
            layer
            for channels in (start, end)
            for layer in (nn.Conv2d(channels, end, 3, padding=1, bias=False), nn.BatchNorm2d(end), nn.ReLU())
        )
    )


def _joined(skipped: Tensor, x: Tensor) -> Tensor:
    """Channels of both maps, `x` padded at its end to the size of `skipped`."""
    rows, columns = (skipped.shape[axis] - x.shape[axis] for axis in (2, 3))
    return torch.cat([skipped, nn.functional.pad(x, (0, columns, 0, rows))], 1)
