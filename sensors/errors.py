"""What a sensor can raise. No message ever carries a joint value, a serial number or a file name."""


class SensorError(RuntimeError):
    """The sensor, or the recording that stands in for one, cannot deliver; the node closes it and tries again."""


class Interruption(SensorError):  # noqa: N818 - the source goes on
    """Nothing comes for now, and the source says why; it stays open, and the next `read` goes on."""


class LinkError(RuntimeError):
    """No link can be made as the settings ask: an address open to others without encryption, a key file of no use."""


class RecordingError(SensorError, ValueError):
    """A recording is malformed; trying again cannot help. The message names the place, never the file."""


class EndOfRecording(Exception):  # noqa: N818 - an end, not an error, like StopIteration
    """The recording has been read to its end."""
