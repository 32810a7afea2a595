"""Anonymizers as torch modules, preprocessing included, and how they become bundles."""

from .build import build_reference_residual, build_template
from .errors import CheckpointError
from .module import StreamModule
from .normalise import Normalised, prenormalise
from .residual import ResidualBlocks, ResidualMlp, load_reference_checkpoint
from .template import Template

__all__ = [
    "CheckpointError",
    "Normalised",
    "ResidualBlocks",
    "ResidualMlp",
    "StreamModule",
    "Template",
    "build_reference_residual",
    "build_template",
    "load_reference_checkpoint",
    "prenormalise",
]
