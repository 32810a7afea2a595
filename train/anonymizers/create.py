"""From the settings of an anonymizer to its network, new."""

from typing import Literal

from torch import nn

from skelanon.configs.training import AnonymizerSettings

from .auto_encoder import AutoEncoder
from .residual import ResidualBlocks, ResidualMlp
from .unet import UNet


def create_anonymizer(settings: AnonymizerSettings, bodies: Literal[1, 2]) -> nn.Module:
    """A network with first weights from torch's generator; `weights` are for the caller to load.

    `residual` and `auto_encoder` take rows (N, 75 P), one frame each, for `Normalised`; `unet`, which has one form
    only and any number of bodies, takes clips (N, 3, T, 25, M).
    """
    if settings.kind == "unet":
        return UNet()
    if settings.kind == "auto_encoder":
        return AutoEncoder(bodies, settings.form)
    return ResidualMlp(bodies) if settings.form == "paper" else ResidualBlocks(bodies)
