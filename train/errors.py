"""What training and its checkpoints can raise."""


class CheckpointError(ValueError):
    """A checkpoint is refused: unreadable, or not of the model that is asked for."""
