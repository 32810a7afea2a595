"""As fast as it goes, losing nothing: one synthetic person, with a subscriber that counts and without."""

from collections import defaultdict
from collections.abc import Callable
from statistics import median

from skelanon.sensors.synthetic import ABSENT
from skelanon.stream.wire import topic

from .daemon import STREAM, daemon
from .figures import Figure
from .plan import Candidate, Plan
from .stages import stage_figures
from .tap import Run, Tap, observe
from .workplace import Workplace

PART = "flat out"
LEAST_HZ = {"template": 10_000.0}
LEAST_HZ_OF_OTHERS = 8_000.0


def measure_flat_out(
    plan: Plan, bundles: list[Candidate], work: Workplace, note: Callable[[str], None]
) -> list[Figure]:
    """Bundles, with and without a subscriber, take turns."""
    runs: dict[tuple[str, bool], list[Run]] = defaultdict(list)
    for number in range(plan.rounds):
        note(f"{PART}, round {number + 1} of {plan.rounds}")
        for bundle in bundles:
            for subscribed in (True, False):
                runs[bundle.path, subscribed].append(_run(plan, bundle, subscribed, work))
    figures = []
    for bundle in bundles:
        counted, alone = runs[bundle.path, True], runs[bundle.path, False]
        figures += stage_figures(PART, bundle.name, [run.last[f"{STREAM}-0"].latency_us for run in counted])
        figures += [
            Figure(
                part=PART,
                what="one subscriber",
                bundle=bundle.name,
                value=median(map(_bodies_hz, counted)),
                unit="frames/s",
                at_least=LEAST_HZ.get(bundle.anonymizer, LEAST_HZ_OF_OTHERS),
            ),
            Figure(
                part=PART,
                what="no subscriber",
                bundle=bundle.name,
                value=median(map(_bodies_hz, alone)),
                unit="frames/s",
            ),
            Figure(
                part=PART,
                what="lost",
                bundle=bundle.name,
                value=sum(run.dropped + run.lost for run in counted),
                unit="frames",
                at_most=0,
            ),
        ]
    return figures


def _run(plan: Plan, bundle: Candidate, subscribed: bool, work: Workplace) -> Run:
    endpoint = work.new_endpoint("ipc")
    stream = f"{STREAM}-0"
    topics = [topic(stream, "status"), *([topic(stream, "frame")] if subscribed else [])]
    with (
        Tap(endpoint, *topics) as tap,
        daemon(work, bundle.path, endpoint, fast=True, wait_for_subscribers=int(subscribed)) as node,
    ):
        return observe(tap, node, 1, plan.flat_out_s)


def _bodies_hz(run: Run) -> float:
    """Frames with a body per second: the synthetic person is out of view for a part of the time."""
    return run.rate_hz * (1 - ABSENT)
