"""What subscribers have asked a socket for, and whether they ask too much."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_FOREIGN_BYTES: Final = 64 * 1024
"""Of different prefixes that no topic here has: ZeroMQ keeps about 50 bytes of memory for each byte of them."""
BURST: Final = 10_000
PER_S: Final = 100.0
"""A client may send a burst of messages, and so many a second in the long run."""
MAX_KNOWN: Final = 1024
"""Clients whose messages are counted."""


@dataclass(slots=True)
class _Allowance:
    left: float
    at_s: float


class Subscriptions:
    """Counts the subscriptions to each of a socket's topics. Knows no socket.

    Prefixes of topics are few, however many ask for them; all others are `foreign`, and bounded.
    """

    def __init__(self, topics: Iterable[bytes]) -> None:
        self._topics = sorted(topics)
        self.counts: Counter[bytes] = Counter()
        """Subscriptions to each topic now."""
        self.newcomers: set[bytes] = set()
        """Topics that somebody has subscribed to; whoever looks after them clears it."""
        self._foreign: Counter[bytes] = Counter()
        self._foreign_bytes = 0
        self._allowances: dict[str | None, _Allowance] = {}

    @property
    def total(self) -> int:
        """Subscriptions to topics of this socket."""
        return self.counts.total()

    def take(self, message: bytes, client: str | None, now_s: float) -> bool:
        """One message from a client, None where it has no key. False: it is too much.

        What ZeroMQ says itself when a client is gone has no client either, and comes but once for each subscription.
        """
        kind, prefix = message[:1], message[1:]
        gone = kind == b"\0" and client is None
        if not gone and not self._allowed(client, now_s):
            return False
        if kind not in (b"\0", b"\1"):  # subscribers may send other things, which mean nothing here
            return True
        subscribed = kind == b"\1"
        found = self._matching(prefix)
        for topic in found:
            self.counts[topic] = max(0, self.counts[topic] + (1 if subscribed else -1))
        if subscribed:
            self.newcomers.update(found)
        return bool(found) or self._note_foreign(prefix, subscribed=subscribed)

    def clear(self) -> None:
        """Nobody is there any more."""
        self.counts.clear()
        self.newcomers.clear()
        self._foreign.clear()
        self._foreign_bytes = 0

    def _matching(self, prefix: bytes) -> list[bytes]:
        first = last = bisect_left(self._topics, prefix)
        while last < len(self._topics) and self._topics[last].startswith(prefix):
            last += 1
        return self._topics[first:last]

    def _note_foreign(self, prefix: bytes, *, subscribed: bool) -> bool:
        if subscribed:
            if not self._foreign[prefix]:
                self._foreign_bytes += len(prefix)
            self._foreign[prefix] += 1
        elif self._foreign[prefix] <= 1:
            self._foreign_bytes -= len(prefix) * self._foreign.pop(prefix, 0)
        else:
            self._foreign[prefix] -= 1
        return self._foreign_bytes <= MAX_FOREIGN_BYTES

    def _allowed(self, client: str | None, now_s: float) -> bool:
        if client not in self._allowances and len(self._allowances) >= MAX_KNOWN:
            del self._allowances[min(self._allowances, key=lambda known: self._allowances[known].at_s)]
        allowance = self._allowances.setdefault(client, _Allowance(BURST, now_s))
        allowance.left = min(BURST, allowance.left + (now_s - allowance.at_s) * PER_S) - 1
        allowance.at_s = now_s
        return allowance.left >= 0
