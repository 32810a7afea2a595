"""Recordings of anonymous streams: MCAP files of the wire's own messages. Importing it does not need `mcap`."""

from .errors import RecordError
from .player import Player
from .reader import Recording
from .recorder import Recorder

__all__ = ["Player", "RecordError", "Recorder", "Recording"]
