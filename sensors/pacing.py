"""The beat of a source that has no hardware clock of its own: replay and the synthetic population."""

import time
from collections.abc import Callable


class Pacer:
    """Gives `rate_hz` beats a second, on absolute deadlines, so that neither sleeping nor work adds drift.

    The first beat is due at once. A reader less than one period late catches up; a later one starts a new beat.
    The clock (seconds, never going back) and the sleep can be replaced in tests.
    """

    def __init__(
        self,
        rate_hz: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._period = 1.0 / rate_hz
        self._monotonic = monotonic
        self._sleep = sleep
        self._due: float | None = None

    def wait(self, timeout_ms: int) -> bool:
        """True at the next beat, False when it does not come within `timeout_ms` milliseconds."""
        now = self._monotonic()
        if self._due is None or now - self._due > self._period:
            self._due = now
        ahead = max(self._due - now, 0.0)
        patience = timeout_ms / 1000
        if pause := min(ahead, patience):
            self._sleep(pause)
        if ahead > patience:
            return False
        self._due += self._period
        return True
