"""Keeps a node going when its GPU fails: the call is lost, then the runner is made anew, or another one takes over.

Nothing here ever waits: runners are made in a thread, and until one is there every call raises, which makes `fault`
frames. A runner that was made anew has no states, so each row starts afresh with it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from .errors import RunnerError
from .runner import Floats, Runner

log = logging.getLogger(__name__)

TOLERATED: Final = 3
"""Failures one after the other, before the runner is made anew: one may be a moment's lack of memory."""
PROVEN: Final = 100
"""Calls in a row after which a runner that was made anew counts as sound again."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0

Make = Callable[[], Runner]


def in_a_thread(work: Callable[[], None]) -> None:
    """Do it beside the node; the process may end meanwhile."""
    threading.Thread(target=work, name="skelanon-runner", daemon=True).start()


class RecoveringRunner(Runner):
    """A runner that is made anew after `TOLERATED` failures; if that does not help either, `fallback` takes over.

    make, fallback: each makes a runner, warmed up, or raises; they are called in a thread of their own. Without a
    fallback it is tried again and again, with growing pauses.
    """

    def __init__(
        self,
        runner: Runner,
        make: Make,
        fallback: Make | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        super().__init__(runner.bundle)
        self._active: Runner | None = runner
        self._broken: Runner | None = None
        """Failed, and not yet freed."""
        self._make = make
        self._fallback = fallback
        self._clock = clock
        self._beside = beside
        self._lock = threading.Lock()
        self._made: Runner | None = None
        """Waits to be taken over; the lock guards this, `_making` and `_closed`."""
        self._making = False
        self._closed = False
        self._failures = 0
        self._calls = 0
        """That succeeded since the runner was made."""
        self._attempts = 0
        """How often it was made anew since it last was sound."""
        self._not_before_s = 0.0
        self._started: set[int] | None = None
        """Rows that the active runner has states of; None: it is the first one, the caller's `fresh` says it."""

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        """Anonymize as `Runner.step` says. Raises RunnerError at once while there is no runner."""
        self._take_over()
        if self._active is None:
            raise RunnerError("the model's runner has failed and is being made anew")
        try:
            anonymous = self._active.step(rows, self._restarted(rows, fresh), joints, present)
        except Exception as error:
            self._note_failure(error)
            raise
        if self._started is not None:
            self._started.update(rows)
        self._failures = 0
        self._calls += 1
        if self._calls == PROVEN:
            self._attempts = 0
        return anonymous

    @property
    def runs_on(self) -> str:
        """What it runs on now, for people."""
        active = self._active
        return active.runs_on if active is not None else "none"

    def close(self) -> None:
        with self._lock:
            self._closed = True
            runners = (self._active, self._broken, self._made)
            self._active = self._broken = self._made = None
        for runner in runners:
            if runner is not None:
                _close(runner)

    def _restarted(self, rows: Sequence[int], fresh: Sequence[bool]) -> Sequence[bool]:
        """`fresh`, and True for the first frame of each row of which the active runner knows nothing."""
        if self._started is None or self._started.issuperset(rows):
            return fresh
        first = np.zeros(len(rows), np.bool_)
        first[np.unique(rows, return_index=True)[1]] = True
        unknown = [row not in self._started for row in rows]
        return [new or (one and begins) for new, one, begins in zip(fresh, unknown, first.tolist(), strict=True)]

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures < TOLERATED:
            return
        log.error("the model's runner fails again and again (%s): making it anew", type(error).__name__)
        self._broken, self._active = self._active, None
        self._failures = self._calls = 0

    def _take_over(self) -> None:
        """Take what the other thread has made; where it has made nothing, let it try again in due time."""
        if self._active is not None:
            return
        with self._lock:
            self._active, self._made = self._made, None
            waiting = self._making or self._closed
        if self._active is not None:
            self._started = set()
            log.warning("the model runs again; its states start afresh")
        elif not waiting and self._clock() >= self._not_before_s:
            self._begin()

    def _begin(self) -> None:
        """Free the broken runner and make another, beside the node. The second time in a row it is the fallback."""
        self._attempts += 1
        self._not_before_s = self._clock() + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._attempts - 1, 10))
        if self._attempts > 1 and self._fallback is not None:
            log.error("making the runner anew did not help: `model.fallback` takes over")
            self._make, self._fallback = self._fallback, None
        make, fallback = self._make, self._fallback
        broken, self._broken = self._broken, None
        with self._lock:
            self._making = True
        self._beside(lambda: self._build(broken, make, fallback))

    def _build(self, broken: Runner | None, make: Make, fallback: Make | None) -> None:
        """In the other thread."""
        if broken is not None:
            _close(broken)  # first: a device has no room for two
        made = _made(make)
        if made is None and fallback is not None:
            log.error("`model.fallback` takes over")
            made = _made(fallback)
        with self._lock:
            self._making = False
            if not self._closed:
                self._made, made = made, None
        if made is not None:
            _close(made)


def _made(make: Make) -> Runner | None:
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - whatever a vendor's library raises, the node goes on
        log.error("the model's runner cannot be made (%s)", error if isinstance(error, RunnerError) else type(error))
        return None


def _close(runner: Runner) -> None:
    try:
        runner.close()
    except Exception as error:  # noqa: BLE001 - a device that is lost cannot be freed either
        log.warning("the failed runner could not be freed (%s)", type(error).__name__)
