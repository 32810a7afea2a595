"""Anonymizers as torch modules, preprocessing included, and how they become bundles."""

from .anonymizers import (
    Normalised,
    ResidualBlocks,
    ResidualMlp,
    StreamModule,
    Template,
    load_reference_checkpoint,
    prenormalise,
)
from .build import build_reference_residual, build_template
from .errors import CheckpointError

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
