"""Data sets: importing recordings, storing them, splitting them, and the clips that networks are trained on."""

from .clips import Batch, Clips
from .importing import import_dataset
from .splits import Split, split
from .store import DatasetInfo, SkeletonDataset, SkeletonSequence

__all__ = [
    "Batch",
    "Clips",
    "DatasetInfo",
    "SkeletonDataset",
    "SkeletonSequence",
    "Split",
    "import_dataset",
    "split",
]
