"""Data sets; anonymizers as torch modules, preprocessing included; training; how runs become bundles.

The list has the errors alone, as what else there is needs torch, and data sets are imported without it.
"""

from .errors import CheckpointError, DataError, TrainingError

__all__ = ["CheckpointError", "DataError", "TrainingError"]
