"""Many sensors at sensor rate on one core."""

from collections.abc import Callable

from .daemon import STREAM, daemon
from .figures import Figure
from .machine import cores, tied_to
from .plan import RATE_HZ, Candidate, Plan
from .tap import Tap, observe
from .workplace import Workplace


def measure_crowd(plan: Plan, bundles: list[Candidate], work: Workplace, note: Callable[[str], None]) -> list[Figure]:
    """The node has the first core, the subscriber the others, if any. No figures where cores cannot be assigned."""
    figures = []
    for bundle in bundles if cores() else []:
        note(f"{plan.sensors} sensors at {RATE_HZ:.0f} Hz on one core")
        figures += _measure(plan, bundle, work)
    return figures


def _measure(plan: Plan, bundle: Candidate, work: Workplace) -> list[Figure]:
    endpoint = work.new_endpoint("ipc")
    first, *others = cores()
    with Tap(endpoint, f"skelanon/1/{STREAM}-".encode()) as tap:
        with tied_to([first]):
            node = daemon(work, bundle.path, endpoint, streams=plan.sensors)
        with node, tied_to(others or [first]):
            run = observe(tap, node, plan.sensors, plan.sensors_s)
    part, name = f"{plan.sensors} on a core", bundle.name
    figures = [
        Figure(part=part, what="asked for", value=plan.sensors * RATE_HZ, unit="frames/s"),
        Figure(part=part, what="published", bundle=name, value=run.rate_hz, unit="frames/s"),
        Figure(part=part, what="dropped", bundle=name, value=run.dropped, unit="frames", at_most=0),
        Figure(part=part, what="dropped at start", bundle=name, value=run.dropped_before, unit="frames"),
        Figure(part=part, what="lost", bundle=name, value=run.lost, unit="frames", at_most=0),
    ]
    if run.before is not None and run.after is not None:
        load = 100 * (run.after.cpu_s - run.before.cpu_s) / run.usage_s
        figures += [
            Figure(part=part, what="CPU", bundle=name, value=load, unit="% of a core"),
            Figure(part=part, what="threads", bundle=name, value=run.after.threads, unit="threads"),
        ]
    return figures
