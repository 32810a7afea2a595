"""The interface of everything that runs a bundle. State lives with the runner, one row for each sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .manifest import Manifest

Floats = NDArray[np.float32]


class Runner(ABC):
    """Runs a bundle, carrying the state of each sample from call to call. Used from one thread.

    A sample is P bodies that the model sees together (P = `bodies_per_sample`). Its row says whose state is meant;
    rows are handed out by the caller, from 0 on, and the runner grows to the largest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @abstractmethod
    def step(self, rows: Sequence[int], joints: Floats, present: Floats) -> Floats:
        """Anonymize one frame of N samples and advance their state.

        rows: N different row numbers. joints: (N, P, 25, 3) float32, metres, camera axes, zeros where absent.
        present: (N, P) float32, 1 where a body is there.
        Returns (N, P, 25, 3) float32, metres, axes as the manifest says; it shares no memory with the input.
        Raises RunnerError when the model fails; no state has changed then.
        """

    @abstractmethod
    def reset(self, row: int) -> None:
        """Start a new track in a row: its state becomes zeros, its persona is drawn anew."""

    @abstractmethod
    def close(self) -> None:
        """Free the model. May be called twice."""
