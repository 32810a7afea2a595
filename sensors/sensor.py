"""The interface that every source of bodies has: cameras, recordings, the synthetic population."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .frame import BodyFrame


class Sensor(ABC):
    """A source of raw frames. One thread opens, reads and closes it.

    Opening after closing starts anew. `close` may be called in any state, and twice.
    """

    lossless: bool = False
    """True where every frame must be handed on, at the reader's pace (fast replay); False where the newest wins."""

    period_s: float = 1 / 30
    """Usual time between frames, seconds; after several of them without one the sensor counts as silent."""

    @abstractmethod
    def open(self) -> None:
        """Start delivering. Raises SensorError with the reason and what to do."""

    @abstractmethod
    def read(self, timeout_ms: int) -> BodyFrame | None:
        """The next frame, or None when none came within `timeout_ms` milliseconds.

        Raises SensorError when the source fails, EndOfRecording when there is nothing more to come.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop delivering and free the device."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
