"""What recordings can raise."""


class RecordError(RuntimeError):
    """A recording cannot be written, read, played or converted: no such file, no MCAP file, a full disk."""
