"""At sensor rate: each stage, and from the sensor's hand-over to the subscriber's hand, beside a bare relay."""

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from statistics import median

import msgspec
import numpy as np

from skelanon.stream.anonymous import JOINTS_BYTES, TRACKING_BYTES, Body
from skelanon.stream.latency import Percentiles
from skelanon.stream.subscriber import Subscriber
from skelanon.stream.wire import FrameMessage

from .daemon import STREAM, daemon
from .figures import Figure, durations
from .plan import RATE_HZ, Candidate, Plan
from .relay import delays_us, relay
from .stages import stage_figures
from .workplace import PATIENCE_S, Workplace

PART = "30 Hz"
MOST_TIMES_THE_RELAY = 2.5
WARM_UP = 10
"""Messages at the beginning that are not counted."""


def measure_paced(plan: Plan, bundles: list[Candidate], work: Workplace, note: Callable[[str], None]) -> list[Figure]:
    """Bundles, transports and the bare relay take turns."""
    frames = WARM_UP + round(plan.paced_s * RATE_HZ)
    stages: dict[str, list[dict[str, Percentiles]]] = defaultdict(list)
    ours: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    bare: dict[str, list[list[float]]] = defaultdict(list)
    for number in range(plan.rounds):
        for transport in plan.transports:
            note(f"{RATE_HZ:.0f} Hz over {transport}, round {number + 1} of {plan.rounds}")
            for bundle in bundles:
                delays, found = _through_node(bundle, work.new_endpoint(transport), frames, work)
                ours[transport, bundle.path].append(delays)
                stages[bundle.path].append(found)
            bare[transport].append(_through_relay(work.new_endpoint(transport), frames, work))
    figures = []
    for bundle in bundles:
        figures += stage_figures(PART, bundle.name, stages[bundle.path])
        for transport in plan.transports:
            figures += _compare(transport, bundle.name, ours[transport, bundle.path], bare[transport])
    return figures


def _compare(transport: str, bundle: str, ours: list[list[float]], bare: list[list[float]]) -> list[Figure]:
    ratio = median(median(node) / median(relay) for node, relay in zip(ours, bare, strict=True))
    return [
        durations(PART, f"node, {transport}", [_percentiles(d) for d in ours], bundle=bundle),
        durations(PART, f"bare relay, {transport}", [_percentiles(d) for d in bare]),
        Figure(
            part=PART,
            what=f"node : relay, {transport}",
            bundle=bundle,
            value=ratio,
            unit="times",
            at_most=MOST_TIMES_THE_RELAY,
        ),
    ]


def _percentiles(delays_us: list[float]) -> tuple[float, float, float]:
    p50, p95, p99 = np.percentile(delays_us, [50, 95, 99]).tolist()
    return p50, p95, p99


def message_bytes(bodies: int = 1) -> int:
    """Size of the second part of a `frame` message."""
    now_ns = time.time_ns()
    message = FrameMessage(
        stream=f"{STREAM}-0",
        epoch=1 << 62,
        sequence=1000,
        captured_ns=now_ns,
        published_ns=now_ns,
        state="ok",
        bodies=(Body(1 << 31, bytes(JOINTS_BYTES), bytes(TRACKING_BYTES)),) * bodies,
        dropped=0,
    )
    return len(msgspec.msgpack.encode(message))


def _through_node(
    bundle: Candidate, endpoint: str, frames: int, work: Workplace
) -> tuple[list[float], dict[str, Percentiles]]:
    """Microseconds from hand-over to hand, frame by frame; and what the node itself says of its stages."""
    stream = f"{STREAM}-0"
    delays: list[float] = []
    with Subscriber(endpoint, [stream]) as subscriber, daemon(work, bundle.path, endpoint) as node:
        stats = subscriber.streams[stream]
        deadline_s = time.monotonic() + PATIENCE_S
        while not stats.stopped:
            frame = subscriber.read(timeout_ms=100)
            if frame is None:
                node.check(deadline_s)
                continue
            delays.append((time.time_ns() - frame.captured_ns) / 1e3)
            deadline_s = time.monotonic() + PATIENCE_S
            if len(delays) == frames:
                node.stop()
        return delays[WARM_UP:frames], stats.status.latency_us if stats.status else {}


def _through_relay(endpoint: str, frames: int, work: Workplace) -> list[float]:
    with relay(work, endpoint, message_bytes()) as sender:
        return list(islice(delays_us(sender, endpoint), WARM_UP, frames))
