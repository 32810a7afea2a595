"""What data, training and checkpoints can raise."""


class CheckpointError(ValueError):
    """A checkpoint is refused or cannot be written: unreadable, of another architecture, a full disk."""


class DataError(ValueError):
    """A data set is refused: files that are not what they should be, labels that are missing, an empty split."""


class TrainingError(RuntimeError):
    """Training cannot go on: it diverged, or its settings do not fit the data or the checkpoints they name."""
