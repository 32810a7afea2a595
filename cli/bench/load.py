"""How many sensors one core bears without losing a frame, beside what a bare socket sends from that core."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .audience import Audience
from .daemon import STREAM, daemon
from .figures import Figure
from .flood import END, flood
from .latency import message_bytes
from .machine import cores, tied_to
from .plan import RATE_HZ, Candidate
from .tap import observe
from .workplace import PATIENCE_S, BenchError, Workplace

PREFIX = f"skelanon/1/{STREAM}-".encode()
LEAST_OF_RATE = 0.97
"""Of the frames asked for: sensors that get no turn make fewer. What is missing to 1 is the grain of the statuses."""


SLACK_S = 10.0
"""For starting; a node ends after that by itself, when its subscribers are too far behind to stop it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of one core. attempts: of a number of sensors, for a noisy machine has bad moments."""

    sensors: int = 64
    persons: int = 2
    subscribers: int = 10
    seconds: float = 5.0
    step: int = 8
    most: int = 512
    attempts: int = 2


QUICK = Load(sensors=8, subscribers=3, seconds=0.5, most=8, attempts=1)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of so many sensors."""

    sensors: int
    rate_hz: float
    dropped: int
    lost: int
    """By all subscribers together."""
    cpu: float
    """Percent of a core."""

    @property
    def free_of_drops(self) -> bool:
        """Whether every frame that was asked for reached every subscriber."""
        return self.dropped == self.lost == 0 and self.rate_hz >= LEAST_OF_RATE * self.sensors * RATE_HZ


def measure_load(load: Load, bundles: list[Candidate], work: Workplace, note: Callable[[str], None]) -> list[Figure]:
    """The node, or the bare socket, has the first core, the subscribers the others, if any. Linux only."""
    if not cores():
        raise BenchError("processes cannot be tied to cores here; --load needs Linux")
    figures = []
    for bundle in bundles:

        def attempt(sensors: int, bundle: Candidate = bundle) -> Trial:
            for _ in range(load.attempts):
                note(f"{sensors} sensors, {load.subscribers} subscribers")
                trial = _try(load, sensors, bundle, work)
                if trial.free_of_drops:
                    break
            return trial

        asked = attempt(load.sensors)
        most = find_most(load, asked, attempt)
        note(f"bare ZeroMQ, {load.subscribers} subscribers")
        figures += _figures(load, bundle.name, asked, most, _bare(load, work))
    return figures


def find_most(load: Load, asked: Trial, attempt: Callable[[int], Trial]) -> Trial | None:
    """The trial with most sensors, to within `step`, that was free of drops; None where none was."""
    best = asked if asked.free_of_drops else None
    good, bad = (asked.sensors, None) if best else (0, asked.sensors)
    while bad is None or bad - good > load.step:
        between = good * 3 // 2 if bad is None else (good + bad) // 2
        sensors = min(between // load.step * load.step, load.most)
        if sensors <= good:  # nothing lies between, or more is not asked for
            break
        trial = attempt(sensors)
        if trial.free_of_drops:
            good, best = sensors, trial
        else:
            bad = sensors
    return best


def _try(load: Load, sensors: int, bundle: Candidate, work: Workplace) -> Trial:
    endpoint, (first, *others) = work.new_endpoint("ipc"), cores()
    with Audience(endpoint, PREFIX, load.subscribers) as audience:
        with tied_to([first]):
            node = daemon(
                work, bundle.path, endpoint,
                persons=load.persons, streams=sensors, wait_for_subscribers=load.subscribers,
                lifetime_s=load.seconds + SLACK_S,
            )  # fmt: skip
        with node, tied_to(others or [first]):
            run = observe(audience, node, sensors, load.seconds)
            audience.finish()
    sent = run.lost + run.frames
    cpu = 100 * (run.after.cpu_s - run.before.cpu_s) / run.usage_s if run.before and run.after else 0.0
    lost = run.lost + sum(sent - count for count in audience.counts)
    return Trial(sensors, run.rate_hz, run.dropped, lost, cpu)


def _bare(load: Load, work: Workplace) -> float:
    """Messages a second that a bare socket sends from the first core, losing none."""
    endpoint, (first, *others) = work.new_endpoint("ipc"), cores()
    size = message_bytes(load.persons)
    with Audience(endpoint, b"skelanon/1/", load.subscribers) as audience:
        with tied_to([first]):
            sender = flood(
                work, endpoint, size,
                streams=load.sensors, subscribers=load.subscribers, seconds=load.seconds,
            )  # fmt: skip
        with sender, tied_to(others or [first]):
            frames, last = 0, None
            deadline_s = time.monotonic() + PATIENCE_S + load.seconds
            while last is None:
                message = audience.receive()
                if message is None:
                    sender.check(deadline_s)
                elif message[0] == END:
                    last = message[1]
                else:
                    frames += 1
            audience.finish()
    rate_hz, sent = last.split()
    if {frames, *audience.counts} != {int(sent)}:
        raise BenchError("the bare socket lost messages that it was not to lose")
    return float(rate_hz)


def _figures(load: Load, bundle: str, asked: Trial, most: Trial | None, bare_hz: float) -> list[Figure]:
    part = f"{load.subscribers} subscribers"
    found_hz = most.sensors * RATE_HZ if most else 0.0

    def row(what: str, value: float, unit: str, **about: float) -> Figure:
        return Figure(part=part, what=what, bundle=bundle, value=value, unit=unit, **about)  # type: ignore[arg-type]

    return [
        row(f"{asked.sensors} sensors: asked for", asked.sensors * RATE_HZ, "frames/s"),
        row(f"{asked.sensors} sensors: published", asked.rate_hz, "frames/s"),
        row(f"{asked.sensors} sensors: dropped", asked.dropped, "frames", at_most=0),
        row(f"{asked.sensors} sensors: lost", asked.lost, "frames", at_most=0),
        row(f"{asked.sensors} sensors: CPU", asked.cpu, "% of a core"),
        row("most sensors without drops", most.sensors if most else 0, "sensors"),
        row("most frames without drops", found_hz, "frames/s"),
        row("bare ZeroMQ", bare_hz, "frames/s"),
        *([row("bare ZeroMQ : node", bare_hz / found_hz, "times")] if found_hz else []),
    ]
