"""Anonymizers as torch modules, preprocessing included."""

from .auto_encoder import AutoEncoder
from .create import create_anonymizer
from .module import StreamModule
from .noise import Noise
from .normalise import Normalised, prenormalise
from .residual import ResidualBlocks, ResidualMlp, load_reference_checkpoint
from .template import Template
from .unet import UNet

__all__ = [
    "AutoEncoder",
    "Noise",
    "Normalised",
    "ResidualBlocks",
    "ResidualMlp",
    "StreamModule",
    "Template",
    "UNet",
    "create_anonymizer",
    "load_reference_checkpoint",
    "prenormalise",
]
