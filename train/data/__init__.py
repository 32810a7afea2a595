"""Data sets: importing recordings, storing them, splitting them; all of it without torch. `clips.py` is what networks
are trained on.
"""

from .importing import import_dataset
from .splits import Split, split
from .store import DatasetInfo, SkeletonDataset, SkeletonSequence

__all__ = ["DatasetInfo", "SkeletonDataset", "SkeletonSequence", "Split", "import_dataset", "split"]
