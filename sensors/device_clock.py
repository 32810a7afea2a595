"""From the clock of a device, which counts from its own start, to the host's monotonic clock. Pure arithmetic."""

from typing import Final

WINDOW_NS: Final = 30_000_000_000
"""The smallest delay is sought over one to two such windows: crystals of 50 ppm drift by 3 ms in a minute."""
JUMP_NS: Final = 200_000_000
"""Clocks that move by more against each other have jumped; less is drift, or delay on the way."""
PATIENCE_NS: Final = 2_000_000_000
"""Frames that come late for so long are not late: the device's clock was set back."""


class DeviceClock:
    """Maps times of the device to times of the host by the smallest difference seen.

    A frame arrives after it was captured, never before: the smallest (arrival - device time) of a while is the one with
    the least delay on the way, and is taken for all. What every frame is late by at the least (exposure, readout,
    transfer) cannot be seen from here and remains.
    """

    def __init__(self) -> None:
        self._last_usec = -1
        self._captured_ns = 0
        self._offset_ns = 0  # the smaller of the two windows'
        self._window_ns = (0, 0)  # smallest offsets, in the window before and in this one
        self._window_start_ns = 0
        self._late_since_ns: int | None = None

    def captured_ns(self, device_usec: int, arrived_ns: int) -> tuple[int, bool]:
        """Time of capture on the clock that `arrived_ns` was read from, and whether the device's clock jumped.

        The first frame counts as a jump. Without a jump, times increase.
        """
        offset_ns = arrived_ns - 1000 * device_usec
        jumped = self._has_jumped(device_usec, offset_ns, arrived_ns)
        if jumped:
            self._window_ns = (offset_ns, offset_ns)
            self._window_start_ns = arrived_ns
            self._late_since_ns = None
        elif arrived_ns - self._window_start_ns >= WINDOW_NS:
            self._window_ns = (self._window_ns[1], offset_ns)
            self._window_start_ns = arrived_ns
        else:
            self._window_ns = (self._window_ns[0], min(self._window_ns[1], offset_ns))
        self._offset_ns = min(self._window_ns)
        captured_ns = 1000 * device_usec + self._offset_ns
        self._captured_ns = captured_ns if jumped else max(captured_ns, self._captured_ns + 1)
        self._last_usec = device_usec
        return self._captured_ns, jumped

    def _has_jumped(self, device_usec: int, offset_ns: int, arrived_ns: int) -> bool:
        if self._last_usec < 0 or device_usec < self._last_usec or offset_ns < self._offset_ns - JUMP_NS:
            return True
        if offset_ns <= self._offset_ns + JUMP_NS:
            self._late_since_ns = None
            return False
        if self._late_since_ns is None:
            self._late_since_ns = arrived_ns
        return arrived_ns - self._late_since_ns > PATIENCE_NS
