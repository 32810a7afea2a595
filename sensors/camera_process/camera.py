"""What a camera's process needs of the camera in it."""

from abc import ABC, abstractmethod
from enum import IntEnum

from .records import Record


class CameraError(Exception):
    """The camera cannot go on. The problem is one of the camera's own kind; its number crosses to the daemon."""

    def __init__(self, problem: IntEnum) -> None:
        super().__init__(problem.name)
        self.problem = problem


class EndOfFile(Exception):  # noqa: N818 - an end, not an error
    """The recording has been read to its end."""


class Camera(ABC):
    """A started camera, or a recording that stands in for one. Used by one thread of its own process only."""

    @abstractmethod
    def next(self) -> Record | None:
        """The next frame, or None after `WAIT_MS` or a little more. Raises CameraError, EndOfFile.

        Its bodies need to stay as they are until the next call only.
        """

    @property
    @abstractmethod
    def silence(self) -> IntEnum:
        """The problem to tell when no frame has come for `frame_timeout_s`."""
