"""What every attacker does: learn from published sequences with their labels, then tell the labels of others."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from skelanon.audit.view import View

Scores = NDArray[np.float32]
"""(N, classes) log-probabilities; where a number is estimated, (N, 1) estimates."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Lesson:
    """What an attacker learns from, its own validation sequences apart.

    targets: (N,) class numbers, or, where `classes` is 0, numbers to estimate (float32). draws: as many times `train`
    holds the same sequences, each time as they were released by other random numbers; an epoch sees each once. pauses:
    learn also from clips before and after which bodies stand still.
    """

    train: View
    train_targets: NDArray[np.generic]
    validation: View
    validation_targets: NDArray[np.generic]
    classes: int
    draws: int = 1
    pauses: bool = False


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How learning went."""

    converged: bool
    """It stopped because nothing improved any more."""
    epochs: int
    """Until the best."""


class Attacker(ABC):
    """An attacker of one family, made with a seed."""

    kind: ClassVar[str]
    """What it sees: `proportions`, `statistics`, `frame`, `window`, `clip`."""
    at_once: ClassVar[bool] = False
    """It learns without epochs."""

    @abstractmethod
    def learn(self, lesson: Lesson) -> Course:
        """Learn, until the validation sequences say that nothing improves."""

    @abstractmethod
    def tell(self, view: View) -> Scores:
        """One row for each sequence; those who see less than a clip vote."""
