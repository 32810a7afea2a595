"""From the start of the process to the first anonymous frame, and the memory that the node then holds."""

import time
from collections.abc import Callable
from statistics import median

from skelanon.stream.wire import topic

from .daemon import STREAM, daemon
from .figures import Figure
from .machine import usage
from .plan import Candidate, Plan
from .tap import Tap
from .workplace import Workplace

PART = "start"
LONGEST_START_S = 1.0
MOST_MEMORY_MB = 120.0
FRAMES_BEFORE_MEMORY = 30


def measure_start(plan: Plan, bundles: list[Candidate], work: Workplace, note: Callable[[str], None]) -> list[Figure]:
    """The subscriber waits at the address before the node starts. The files are in the system's cache by then."""
    figures = []
    for bundle in bundles:
        seconds, megabytes = [], []
        for number in range(plan.starts):
            note(f"{PART} {number + 1} of {plan.starts}")
            first_s, resident_mb = _start(bundle, work)
            seconds.append(first_s)
            if resident_mb is not None:
                megabytes.append(resident_mb)
        figures.append(
            Figure(
                part=PART,
                what="first frame",
                bundle=bundle.name,
                value=median(seconds),
                worst=max(seconds),
                unit="s",
                at_most=LONGEST_START_S,
            )
        )
        if megabytes:
            figures.append(
                Figure(
                    part=PART,
                    what="memory",
                    bundle=bundle.name,
                    value=median(megabytes),
                    worst=max(megabytes),
                    unit="MB",
                    at_most=MOST_MEMORY_MB,
                )
            )
    return figures


def _start(bundle: Candidate, work: Workplace) -> tuple[float, float | None]:
    """Seconds to the first frame, and megabytes one second later; two persons are in view."""
    endpoint = work.new_endpoint("ipc")
    with (
        Tap(endpoint, topic(f"{STREAM}-0", "frame")) as tap,
        daemon(work, bundle.path, endpoint, persons=2, wait_for_subscribers=0) as node,
    ):
        frames = tap.messages(node)
        next(frames)
        first_s = (time.time_ns() - node.started_ns) / 1e9
        for _ in range(FRAMES_BEFORE_MEMORY):
            next(frames)
        used = usage(node.pid)
        return first_s, None if used is None else used.resident_mb
