"""Many sensors on one runner, by the node's own way of gathering their frames, without sockets and drivers."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from skelanon.export.runner import Runner
from skelanon.export.timing import made_up_frames
from skelanon.sensors.frame import TRACKED, BodyFrame
from skelanon.stream.anonymizer import Anonymizer
from skelanon.stream.latency import Latencies, Stopwatch
from skelanon.stream.mailbox import Mailbox
from skelanon.stream.node import GATHER_S, MANY, TICK_S

TURNS = 4
"""Different frames of each sensor, given again and again."""
WARM_UP_S = 0.2


@dataclass(slots=True)
class Gathered:
    """added_us: from a frame's hand-over to its being anonymous, microseconds, after the first moments."""

    added_us: list[float] = field(default_factory=list)
    rate_hz: float = 0.0
    dropped: int = 0
    lost: int = 0
    """Frames at fault or of which a body was withheld."""


def gather(runner: Runner, *, sensors: int, bodies: int, rate_hz: float, seconds: float) -> Gathered:
    """Let sensors that are out of step hand their frames over at `rate_hz`, and anonymize all that waits together."""
    mailbox = Mailbox([False] * sensors, gather_s=GATHER_S if sensors > MANY else 0.0)
    anonymizer = Anonymizer(runner, sensors=sensors)
    frames = _frames(runner, sensors, bodies)
    stop = threading.Event()
    feeder = threading.Thread(target=_feed, args=(mailbox, frames, rate_hz, stop), name="sensors", daemon=True)
    found, latencies = Gathered(), Latencies()
    count, started_s = 0, time.perf_counter()
    feeder.start()
    try:
        while (now_s := time.perf_counter()) - started_s < WARM_UP_S + seconds:
            deliveries = mailbox.take(TICK_S)
            waiting = [(one.sensor, one.content) for one in deliveries if isinstance(one.content, BodyFrame)]
            outcomes = anonymizer.anonymize(waiting, Stopwatch(latencies)) if waiting else []
            done_ns = time.perf_counter_ns()
            if now_s - started_s < WARM_UP_S:
                continue
            count += len(waiting)
            found.added_us += [(done_ns - one.put_ns) / 1e3 for one in deliveries]
            found.dropped += sum(one.dropped for one in deliveries)
            found.lost += sum(one.withheld > 0 or one.frame.state != "ok" for one in outcomes)
    finally:
        stop.set()
        feeder.join()
    found.rate_hz = count / seconds
    return found


def _frames(runner: Runner, sensors: int, bodies: int) -> list[list[BodyFrame]]:
    """`TURNS` frames of each sensor."""
    size = runner.manifest.bodies_per_sample
    walks = made_up_frames(runner.manifest, -(-bodies // size), TURNS).reshape(TURNS, -1, 25, 3)[:, :bodies]
    tracking = np.full((bodies, 25), TRACKED, np.uint8)
    ids, moved = tuple(range(bodies)), np.arange(sensors, dtype=np.float32) * np.float32(1e-4)
    now_ns = time.time_ns()
    return [
        [BodyFrame(now_ns, walks[turn] + moved[sensor], tracking, ids) for turn in range(TURNS)]
        for sensor in range(sensors)
    ]


def _feed(mailbox: Mailbox, frames: list[list[BodyFrame]], rate_hz: float, stop: threading.Event) -> None:
    """All sensors in one thread: sensor s is due at (s / sensors + k) / rate for every k."""
    sensors, started_s, handed = len(frames), time.perf_counter(), 0
    while not stop.is_set():
        due = int((time.perf_counter() - started_s) * rate_hz * sensors)
        for number in range(handed, due):
            turn, sensor = divmod(number, sensors)
            mailbox.put(sensor, frames[sensor][turn % TURNS])
        handed = due
        stop.wait(0.001)
