"""Time as sensors tell it that deliver as fast as the machine allows: it goes by frames, not by seconds."""

import threading
import time
from typing import Final

RATE_HZ: Final = 30
EPOCH_NS: Final = 946_684_800 * 10**9
"""Simulated time begins in 2000: what is stamped with the real time is told from it."""
_NUMBER_BITS: Final = 20
"""Of a time of capture: they hold the frame's number, and the time itself is a millisecond off at most."""
MOST_FRAMES: Final = 1 << _NUMBER_BITS
_AHEAD: Final = 3 * RATE_HZ
_PAUSE_S: Final = 0.004


class SimulatedTime:
    """The ticks of all sensors. `leaders` sensors make time go by; the others follow it. From any thread."""

    def __init__(self, sensors: int, leaders: int, ticks: int) -> None:
        self.ticks = [0] * sensors
        self.total = ticks
        self._leaders = leaders
        self._ended = threading.Event()

    def seconds(self) -> float:
        """Simulated seconds since the beginning."""
        return sum(self.ticks[: self._leaders]) / (self._leaders * RATE_HZ)

    def end(self) -> None:
        """Let every sensor be at its end."""
        self._ended.set()

    def over(self, sensor: int) -> bool:
        """Whether a sensor has delivered all that it will."""
        return self._ended.is_set() or self.ticks[sensor] >= self.total

    def due(self, sensor: int, timeout_ms: int) -> bool:
        """Wait until it is a sensor's turn: not far ahead of the slowest leader, or, as a follower, not early."""
        deadline_s = time.monotonic() + timeout_ms / 1e3
        while not self._is_turn(sensor):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_PAUSE_S)
        return True

    def _is_turn(self, sensor: int) -> bool:
        if self.over(sensor):
            return True
        leaders = self.ticks[: self._leaders]
        if sensor < self._leaders:
            return self.ticks[sensor] <= min(leaders) + _AHEAD
        return self.ticks[sensor] * self._leaders <= sum(leaders)


def stamp(tick: int, number: int, offset_s: int = 0) -> int:
    """The time of capture of a frame, by a clock that is off by `offset_s`, with the frame's number in it."""
    time_ns = EPOCH_NS + offset_s * 10**9 + tick * 10**9 // RATE_HZ
    return (time_ns >> _NUMBER_BITS << _NUMBER_BITS) | number


def number_of(captured_ns: int) -> int | None:
    """The number of a sensor's frame; None for one that the node made itself, at the real time."""
    if captured_ns > EPOCH_NS + 10 * 365 * 86_400 * 10**9:
        return None
    return captured_ns & (MOST_FRAMES - 1)
