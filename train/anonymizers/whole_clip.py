"""Anonymizers as training runs them: whole clips in, whole clips in normalised axes out."""

from typing import Literal, Protocol

from torch import Tensor, nn

from .normalise import Normalised
from .unet import UNet


class SequenceModel(Protocol):
    """What training and evaluation ask of an anonymizer."""

    def sequence(self, joints: Tensor, present: Tensor) -> Tensor:
        """(N, T, P, 25, 3) joints in camera axes and (N, T, P) presence to anonymous joints, absent bodies zeros."""


class WholeClip(nn.Module):
    """A network that must see a clip from its first to its last frame, after the paper's normalisation. Offline only.

    network: clips (N, 3, T, 25, P) to clips.
    """

    def __init__(self, network: nn.Module, bodies: Literal[1, 2]) -> None:
        super().__init__()
        self.network = network
        self.normalise = Normalised(nn.Identity(), bodies)

    def sequence(self, joints: Tensor, present: Tensor) -> Tensor:
        clips: Tensor = self.network(as_clips(self.normalise.sequence(joints, present)))
        return clips.permute(0, 2, 4, 3, 1) * present[..., None, None]  # (N, T, P, V, C)


def sequence_model(
    network: nn.Module, bodies: Literal[1, 2], architecture: nn.Module | None = None
) -> Normalised | WholeClip:
    """An anonymizer's network between the streaming preprocessing and normalised axes.

    architecture: the network itself, where `network` is a wrapper around it.
    """
    if isinstance(architecture or network, UNet):
        return WholeClip(network, bodies)
    return Normalised(network, bodies)


def as_clips(joints: Tensor) -> Tensor:
    """(N, T, P, V, C) to (N, C, T, V, M), as recognizers take them."""
    return joints.permute(0, 4, 1, 3, 2)
