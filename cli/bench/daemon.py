"""The node as users run it: `skelanon run` in a process of its own."""

import json
from typing import Any, Final

from .plan import LIFETIME_S, RATE_HZ
from .workplace import Child, Workplace

STREAM: Final = "bench"
_LIFETIME_FRAMES: Final = 2_000_000  # flat out


def daemon(
    work: Workplace,
    bundle: str,
    endpoint: str,
    *,
    persons: int = 1,
    streams: int = 1,
    fast: bool = False,
    wait_for_subscribers: int = 1,
    lifetime_s: float = LIFETIME_S,
) -> Child:
    """A node that publishes `streams` synthetic sensors, named bench-0, bench-1, ..."""
    frames = _LIFETIME_FRAMES if fast else round(lifetime_s * RATE_HZ)
    sensor = {"kind": "synthetic", "persons": persons, "rate_hz": RATE_HZ, "fast": fast, "frames": frames}
    settings: dict[str, Any] = {
        "sensors": {f"{STREAM}-{number}": {**sensor, "seed": number % 4} for number in range(streams)},
        "model": {"bundle": bundle},
        "publish": {"endpoint": endpoint, "wait_for_subscribers": wait_for_subscribers},
    }
    config = work.new_file(".yaml")
    config.write_text(json.dumps(settings), "utf-8")  # JSON is YAML
    return work.start("skelanon.cli.main", "run", str(config))
