"""What a runner with its state on a device asks of that device."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32] | NDArray[np.int64]


class Device(ABC):
    """A loaded graph, and the memory that it works on. Used from one thread; any method may raise anything."""

    name: str
    """For people: provider and GPU."""

    @abstractmethod
    def allocate(self, values: Array) -> Any:
        """A buffer that holds these values; its address never changes."""

    @abstractmethod
    def upload(self, buffer: Any, values: Array) -> None:
        """Overwrite a buffer, of the same shape."""

    @abstractmethod
    def download(self, buffer: Any) -> Array:
        """A copy of a buffer's values, once all that was started before has ended."""

    @abstractmethod
    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Callable[[], None]:
        """A function that runs the graph from these buffers to those, always the same ones."""

    @abstractmethod
    def close(self) -> None:
        """Free graph and memory. May be called twice."""
