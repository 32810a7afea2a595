"""The interface of everything that runs a bundle. State lives with the runner, one row for each sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import RunnerError
from .manifest import Manifest

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


class Runner(ABC):
    """Runs a bundle, carrying the state of each sample from call to call. Used from one thread.

    A sample is P bodies that the model sees together (P = `bodies_per_sample`). Its row says whose state is meant;
    rows are numbered by the caller, from 0 on, and the runner grows to the largest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def runs_on(self) -> str:
        """What it runs on, for people."""
        return type(self).__name__

    @abstractmethod
    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        """Anonymize N samples and advance their state.

        rows: the row of each sample; one that stands several times holds frames that follow each other.
        fresh: True where a sample starts: from zero state, with a persona of its own.
        joints: (N, P, 25, 3) float32, metres, camera axes, zeros where absent.
        present: (N, P) float32, 1 where a body is there.
        Returns (N, P, 25, 3) float32, metres, axes as the manifest says; it shares no memory with the input.
        Raises RunnerError when the model fails; no state has changed then.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model. May be called twice."""


class RowRunner(Runner):
    """Puts the frames of a call in order; where the state lies is for its heirs to say."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._random = np.random.default_rng()
        self._settles = True

    def reseed(self, seed: int | None) -> None:
        """Draw personas from a seed, to compare runners: whoever knows it knows them. None: from none, as at first."""
        self._random = np.random.default_rng(seed)

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        """Anonymize N samples and advance their state, as `Runner.step` says."""
        if not self.manifest.state_size and not self.manifest.persona_size:
            return self._plain(joints, present)
        self._reserve(max(rows) + 1)
        if len(set(rows)) == len(rows):
            return self._advance(np.array(rows), np.array(fresh, np.bool_), joints, present)
        before = self._save()
        try:
            return self._in_order(np.array(rows), np.array(fresh, np.bool_), joints, present)
        except Exception:
            self._restore(before)
            raise

    @abstractmethod
    def _plain(self, joints: Floats, present: Floats) -> Floats:
        """One call of a model that has neither state nor persona."""

    @abstractmethod
    def _reserve(self, rows: int) -> None:
        """Have room for so many rows."""

    @abstractmethod
    def _advance(self, rows: Rows, fresh: Flags, joints: Floats, present: Floats) -> Floats:
        """One frame of each of different rows; all of them or, when it raises, none."""

    @abstractmethod
    def _peek(self, rows: Rows, joints: Floats, present: Floats) -> tuple[Floats, bool]:
        """Frames of any rows from their states as they are, which do not change; and whether they would not."""

    @abstractmethod
    def _save(self) -> Any:
        """What `_restore` needs to undo any number of `_advance`."""

    @abstractmethod
    def _restore(self, before: Any) -> None:
        """Make all states what they were."""

    def _in_order(self, rows: Rows, fresh: Flags, joints: Floats, present: Floats) -> Floats:
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
            ahead, settled = self._peek(rows[followers], joints[followers], present[followers])
            if not settled:
                self._settles = False  # a model with a real memory goes frame by frame from now on
                continue
            anonymous[followers] = ahead
            waiting = waiting[len(followers) :]
        return anonymous


class HostRunner(RowRunner):
    """Keeps states and personas in numpy arrays and hands them to each call."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._state = np.zeros((0, self.manifest.state_size), np.float32)
        self._persona = np.zeros((0, self.manifest.persona_size), np.float32)

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        """Anonymize N samples and advance their state, as `Runner.step` says."""
        if len(rows) != 1 or not self.manifest.state_size:
            return super().step(rows, fresh, joints, present)
        # One sample is what a node with one sensor has: views instead of index arrays spare it a sixth of its time.
        self._reserve(rows[0] + 1)
        if fresh[0]:
            self._start(np.array(rows))
        here = slice(rows[0], rows[0] + 1)
        anonymous, state = self._checked(joints, present, self._state[here], self._persona[here])
        self._state[here] = state
        return anonymous

    @abstractmethod
    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        """One call of the model: anonymous joints (N, P, 25, 3) and next state (N, S). Raises RunnerError."""

    def _plain(self, joints: Floats, present: Floats) -> Floats:
        return self._call(joints, present, self._state, self._persona)[0]

    def _reserve(self, rows: int) -> None:
        if rows > len(self._state):
            more = ((0, max(rows, 2 * len(self._state)) - len(self._state)), (0, 0))
            self._state, self._persona = np.pad(self._state, more), np.pad(self._persona, more)

    def _advance(self, rows: Rows, fresh: Flags, joints: Floats, present: Floats) -> Floats:
        if fresh.any():
            self._start(rows[fresh])
        anonymous, state = self._call_rows(rows, joints, present)
        self._state[rows] = state
        return anonymous

    def _peek(self, rows: Rows, joints: Floats, present: Floats) -> tuple[Floats, bool]:
        anonymous, state = self._call_rows(rows, joints, present)
        return anonymous, np.array_equal(state, self._state[rows])

    def _save(self) -> Floats:
        return self._state.copy()

    def _restore(self, before: Floats) -> None:
        self._state = before

    def _call_rows(self, rows: Rows, joints: Floats, present: Floats) -> tuple[Floats, Floats]:
        return self._checked(joints, present, self._state[rows], self._persona[rows])

    def _checked(self, joints: Floats, present: Floats, before: Floats, persona: Floats) -> tuple[Floats, Floats]:
        anonymous, state = self._call(joints, present, before, persona)
        if anonymous.shape != joints.shape or state.shape != before.shape:
            raise RunnerError(f"the model returned {anonymous.shape} and {state.shape} for {joints.shape}")
        return anonymous, state

    def _start(self, rows: Rows) -> None:
        """Zero state and a new persona: nothing is lost if the call then fails, for these tracks begin with it."""
        self._state[rows] = 0.0
        self._persona[rows] = self._random.standard_normal((len(rows), self.manifest.persona_size))
