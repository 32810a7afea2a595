"""The interface of everything that runs a bundle. State lives with the runner, one row for each sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import RunnerError
from .manifest import Manifest

Floats = NDArray[np.float32]


class Runner(ABC):
    """Runs a bundle, carrying the state of each sample from call to call. Used from one thread.

    A sample is P bodies that the model sees together (P = `bodies_per_sample`). Its row says whose state is meant;
    rows are numbered by the caller, from 0 on, and the runner grows to the largest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._state = np.zeros((0, self.manifest.state_size), np.float32)
        self._persona = np.zeros((0, self.manifest.persona_size), np.float32)
        self._random = np.random.default_rng()
        self._settles = True

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        """Anonymize N samples and advance their state.

        rows: the row of each sample; one that stands several times holds frames that follow each other.
        fresh: True where a sample starts: from zero state, with a persona of its own.
        joints: (N, P, 25, 3) float32, metres, camera axes, zeros where absent.
        present: (N, P) float32, 1 where a body is there.
        Returns (N, P, 25, 3) float32, metres, axes as the manifest says; it shares no memory with the input.
        Raises RunnerError when the model fails; no state has changed then.
        """
        if not self.manifest.state_size and not self.manifest.persona_size:
            return self._call(joints, present, self._state, self._persona)[0]
        self._grow(max(rows) + 1)
        if len(set(rows)) == len(rows):
            return self._advance(np.array(rows), np.array(fresh, np.bool_), joints, present)
        before = self._state.copy()
        try:
            return self._in_order(np.array(rows), np.array(fresh, np.bool_), joints, present)
        except Exception:
            self._state = before
            raise

    @abstractmethod
    def close(self) -> None:
        """Free the model. May be called twice."""

    @abstractmethod
    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        """One call of the model: anonymous joints (N, P, 25, 3) and next state (N, S). Raises RunnerError."""

    def _in_order(self, rows: NDArray[np.intp], fresh: NDArray[np.bool_], joints: Floats, present: Floats) -> Floats:
        """First the first frame of each row, then what follows it: all at once where the state has settled."""
        anonymous = np.empty_like(joints)
        waiting = np.arange(len(rows))
        while len(waiting):
            first = np.unique(rows[waiting], return_index=True)[1]
            heads, waiting = waiting[first], np.delete(waiting, first)
            anonymous[heads] = self._advance(rows[heads], fresh[heads], joints[heads], present[heads])
            followers = waiting[: np.argmax(fresh[waiting])] if fresh[waiting].any() else waiting
            if not self._settles or not len(followers):
                continue
            ahead, state = self._call_rows(rows[followers], joints[followers], present[followers])
            if not np.array_equal(state, self._state[rows[followers]]):
                self._settles = False  # a model with a real memory goes frame by frame from now on
                continue
            anonymous[followers] = ahead
            waiting = waiting[len(followers) :]
        return anonymous

    def _advance(self, rows: NDArray[np.intp], fresh: NDArray[np.bool_], joints: Floats, present: Floats) -> Floats:
        """One frame of each of different rows."""
        if fresh.any():
            self._start(rows[fresh])
        anonymous, state = self._call_rows(rows, joints, present)
        self._state[rows] = state
        return anonymous

    def _call_rows(self, rows: NDArray[np.intp], joints: Floats, present: Floats) -> tuple[Floats, Floats]:
        anonymous, state = self._call(joints, present, self._state[rows], self._persona[rows])
        if anonymous.shape != joints.shape or state.shape != (len(rows), self.manifest.state_size):
            raise RunnerError(f"the model returned {anonymous.shape} and {state.shape} for {joints.shape}")
        return anonymous, state

    def _start(self, rows: NDArray[np.intp]) -> None:
        self._state[rows] = 0.0
        self._persona[rows] = self._random.standard_normal((len(rows), self.manifest.persona_size))

    def _grow(self, rows: int) -> None:
        if rows > len(self._state):
            more = ((0, max(rows, 2 * len(self._state)) - len(self._state)), (0, 0))
            self._state, self._persona = np.pad(self._state, more), np.pad(self._persona, more)
