"""What a sensor can raise. No message ever carries a joint value, a serial number or a file name."""


class SensorError(RuntimeError):
    """The sensor, or the recording that stands in for one, cannot deliver; the node closes it and tries again."""


class RecordingError(SensorError, ValueError):
    """A recording is malformed; trying again cannot help. The message names the place, never the file."""


class EndOfRecording(Exception):  # noqa: N818 - an end, not an error, like StopIteration
    """The recording has been read to its end."""
