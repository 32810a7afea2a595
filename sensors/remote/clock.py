"""From a sender's clock to the node's, by round trips (Cristian 1989; NTP's clock filter, RFC 5905, section 10).

The node notes when it sent a ping and when the answer came; the sender's clock was read in between, wherever that was.
The difference of the clocks is thus known to half the round trip, and best from the shortest one. Pure arithmetic.
"""

from dataclasses import dataclass
from typing import Final

DRIFT: Final = 100e-6
"""Two crystals part by at most so much: a measurement of a minute ago may be wrong by 6 ms more."""
TOLERANCE_NS: Final = 20_000_000
"""What comes from further in the future than can be, by more than this, is of a clock that was set."""


@dataclass(frozen=True, slots=True)
class _Offset:
    """Sender's clock minus node's, nanoseconds, known to `error_ns` at `at_ns` of the node's clock."""

    offset_ns: int
    error_ns: int
    at_ns: int

    def error_at(self, now_ns: int) -> int:
        return self.error_ns + round(DRIFT * (now_ns - self.at_ns))


class SenderClock:
    """Maps times of a sender's clock to times of the node's. All are nanoseconds; where either begins is all the same.

    Of all measurements the one counts that is known best now, its age considered.
    """

    def __init__(self) -> None:
        self._best: _Offset | None = None

    def error_ns(self, now_ns: int) -> int | None:
        """Half-width of what the difference may be; None where it is not known."""
        return None if self._best is None else self._best.error_at(now_ns)

    def measure(self, ping_ns: int, sender_ns: int, arrived_ns: int) -> bool:
        """Take in a round trip: node's clock at ping, sender's at its answer, node's at the answer's arrival.

        Returns whether the sender's clock was set since the measurement before: they cannot both be right.
        """
        round_trip_ns = arrived_ns - ping_ns
        error_ns = round_trip_ns // 2 + round(DRIFT * round_trip_ns) + 1
        new = _Offset(sender_ns - ping_ns - round_trip_ns // 2, error_ns, arrived_ns)
        old = self._best
        if old is None:
            self._best = new
            return False
        old_error_ns = old.error_at(arrived_ns)
        was_set = abs(new.offset_ns - old.offset_ns) > old_error_ns + new.error_ns
        if was_set or new.error_ns <= old_error_ns:
            self._best = new
        return was_set

    def to_node(self, sender_ns: int, arrived_ns: int) -> int | None:
        """A moment of the sender's before `arrived_ns`, on the node's clock; never after `arrived_ns`.

        None where the clocks' difference is not known, or not any more: what comes from the future is of a clock that
        was set.
        """
        best = self._best
        if best is None:
            return None
        node_ns = sender_ns - best.offset_ns
        if node_ns - arrived_ns > best.error_at(arrived_ns) + TOLERANCE_NS:
            self._best = None
            return None
        return min(node_ns, arrived_ns)
