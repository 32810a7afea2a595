"""A subscriber of a soak test: `soak_client.py SETTINGS NUMBER`. Number 0 stays; the others join and leave.

Every message that arrives is searched for raw joints, and every gap must be one that the node has told.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from ledger import Ledger
from raw_search import RawSearch, synthetic_joints
from scripted_faults import SERIAL

from skelanon.stream.received import Message, log_event
from skelanon.stream.subscriber import Subscriber

REPORT_S: Final = 2.0
POLL_MS: Final = 50


class Client:
    """What one client has seen in all its memberships."""

    def __init__(self, settings: dict[str, Any], number: int) -> None:
        self._settings, self._number = settings, number
        self._random = random.Random(number)
        self._search = RawSearch(synthetic_joints(range(settings["seeds"]), settings["persons"]))
        self._path = Path(settings["folder"]) / f"client-{number}.json"
        self._ledger = Ledger()
        self._names = 0
        self._reported_s = 0.0
        self.asked = False
        self.totals: dict[str, float] = dict.fromkeys(
            ("joins", "frames", "bodies", "faults", "dropped", "unexplained", "lost", "malformed"), 0
        )

    def run(self) -> None:
        """Join and leave until the node stops, or somebody asks."""
        while not self.asked and not self._member():
            until_s = time.monotonic() + self._random.uniform(0.2, 2.0)
            while not self.asked and time.monotonic() < until_s:
                time.sleep(0.05)
        self._search.finish()
        self._report(done=True)

    def _member(self) -> bool:
        """One membership; True once the node has stopped all streams."""
        names = [f"s{number}" for number in range(self._settings["sensors"])]
        streams = names if self._number == 0 else self._random.sample(names, self._random.randint(1, 5))
        stay_s = float("inf") if self._number == 0 else self._random.uniform(1.0, 8.0)
        self._ledger = Ledger()
        self.totals["joins"] += 1
        until_s, stopped = time.monotonic() + stay_s, False
        with Subscriber(
            self._settings["endpoint"], streams, stall_after_s=60.0, on_event=log_event, on_message=self._take
        ) as subscriber:
            while not self.asked and not stopped and time.monotonic() < until_s:
                subscriber.latest(POLL_MS)
                stopped = all(stats.stopped for stats in subscriber.streams.values())
                if time.monotonic() - self._reported_s > REPORT_S:
                    self._report()
            self.totals["malformed"] += subscriber.malformed
            self.totals["lost"] += sum(stats.lost for stats in subscriber.streams.values())
        for name in ("frames", "bodies", "faults", "dropped", "unexplained"):
            self.totals[name] += getattr(self._ledger, name)
        return stopped

    def _take(self, message: Message, payload: bytes, _received_ns: int) -> None:
        self._ledger.take(message)
        self._search.add(payload)
        if not self._ledger.frames:
            Path(self._settings["started"]).touch()
        self._names += SERIAL.encode() in payload

    def _report(self, *, done: bool = False) -> None:
        self._reported_s = time.monotonic()
        found = {
            **self.totals,
            "names": self._names,
            "searched": self._search.searched,
            "raw": self._search.found,
            "uptime_s": self._ledger.uptime_s,
            "of_sensors": self._ledger.of_sensors if self._number == 0 else {},
            "now": self._ledger.frames,
            "done": done,
        }
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(found))
        os.replace(new, self._path)


def main(path: str, number: int) -> None:
    """Run a client until SIGTERM, or until the node has stopped."""
    client = Client(json.loads(Path(path).read_text()), number)

    def ask(*_: object) -> None:
        client.asked = True

    signal.signal(signal.SIGTERM, ask)
    client.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
