"""Chaos: parts of a fleet are killed, stopped, starved and lied to at random, hundreds of times.

    PYTHONPATH=tests/endurance:tests/support python -m chaos --rounds 1000 --minutes 15 --out build/chaos.json

What a round did is chosen by `--seed`. Exit code 1: something is not as it must be. Linux, gcc and skelanon[azure].
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from azure_stand_in import SERIAL
from chaos_deeds import DEEDS, Deed
from chaos_fleet import RECORDERS, Fleet, WitnessError

PROMISED_S: Final = 2.0
REST_S: Final = 0.1


def play(fleet: Fleet, random: Random, deeds: Sequence[Deed], minutes: float, out: Path) -> dict[str, Any]:
    """Do one deed after the other, until all are done or time is up; returns the report."""
    began_s = time.monotonic()
    took: dict[str, list[float]] = {deed.__name__: [] for deed in DEEDS}
    failures: list[str] = []
    started = {"done": 0, "asked": len(deeds)}
    for deed in deeds:
        if time.monotonic() - began_s > 60 * minutes:
            break
        started["done"] += 1
        try:
            took[deed.__name__].append(deed(fleet, random))
            fleet.seconds_until_well(["hall", "door"])
            fleet.rest(REST_S)
        except WitnessError as error:
            failures.append(f"round {started['done']}, {deed.__name__}: {error}")
            heal(fleet)
        if started["done"] % 20 == 0:
            write(out, report(fleet, started, took, failures, time.monotonic() - began_s))
    return report(fleet, started, took, failures, time.monotonic() - began_s)


def heal(fleet: Fleet) -> None:
    """After a failure: whatever is not there is started, so that the next round begins with a whole fleet."""
    for part in ("node", "proxy", *RECORDERS):
        if part not in fleet.parts or fleet.parts[part].poll() is not None:
            fleet.start(part)
    fleet.seconds_until_well(["hall", "door"])


def report(
    fleet: Fleet, rounds: dict[str, int], took: dict[str, list[float]], failures: list[str], seconds: float
) -> dict[str, Any]:
    """What came of it so far."""
    fleet.search.finish()
    logs = "".join(path.read_text() for path in fleet.folder.glob("*.log"))
    return {
        **rounds,
        "minutes": seconds / 60,
        "load_average": os.getloadavg(),
        "deeds": {name: _figures(times) for name, times in took.items() if times},
        "all": _figures([one for times in took.values() for one in times]),
        "failures": failures,
        "raw_joints": fleet.search.found,
        "searched_bytes": fleet.search.searched,
        "serial_numbers": fleet.near.leaks + fleet.far.leaks + logs.count(SERIAL),
        "crashes": logs.count("Traceback") + logs.count("skelanon has failed"),
        "malformed": fleet.near.subscriber.malformed + fleet.far.subscriber.malformed,
        "recordings_read": fleet.readings,
        "recorded_frames_read": fleet.frames_read,
    }


def _figures(times: list[float]) -> dict[str, float]:
    if not times:
        return {}
    p50, p95 = np.percentile(times, [50, 95]).tolist()
    late = sum(one > PROMISED_S for one in times)
    return {"rounds": len(times), "p50_s": p50, "p95_s": p95, "worst_s": max(times), "late": late}


def wrong(found: dict[str, Any]) -> list[str]:
    """What is not as it must be; a recovery that took longer than promised is told, but may be the machine's."""
    counts = ("raw_joints", "serial_numbers", "crashes", "malformed")
    return [*found["failures"], *(f"{name}: {found[name]}" for name in counts if found[name])]


def write(out: Path, found: dict[str, Any]) -> None:
    """Replace the report at once."""
    new = out.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1))
    os.replace(new, out)


def main() -> int:
    """Run, and print what came of it in a few lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60.0, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", action="store_true", help="every deed once, instead of --rounds")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started is left behind
    random = Random(given.seed)
    deeds = list(DEEDS) if given.each else random.choices(list(DEEDS), list(DEEDS.values()), k=given.rounds)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        fleet = Fleet(Path(folder))
        try:
            heal(fleet)
            found = play(fleet, random, deeds, given.minutes, given.out)
        finally:
            fleet.close()
    found["wrong"] = wrong(found)
    write(given.out, found)
    every = found["all"]
    times = (
        f"p50 {every['p50_s']:.2f} s, p95 {every['p95_s']:.2f} s, {every['late']} later than {PROMISED_S:.0f} s"
        if every
        else "never"
    )
    sys.stdout.write(
        f"{found['done']} of {found['asked']} rounds in {found['minutes']:.1f} min; back after {times}; "
        f"wrong: {found['wrong'] or 'nothing'}\n"
    )
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
