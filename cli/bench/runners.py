"""`skelanon bench --runners`: every runner that this machine has, at the load of a node, as `runner: auto` measures."""

from collections.abc import Callable

from skelanon.configs.schema import ModelSettings
from skelanon.export.bundle import read_bundle
from skelanon.export.choose import measure_runners
from skelanon.export.timing import Load

from .figures import Figure
from .plan import Candidate


def compare_runners(
    bundles: list[Candidate],
    settings: ModelSettings,
    *,
    rate_hz: float,
    bodies: int,
    budget_s: float,
    note: Callable[[str], None],
) -> list[Figure]:
    """p50 and p99 of one call with all bodies, at the rate; what is absent is noted with its reason."""
    figures = []
    for bundle in bundles:
        found = read_bundle(bundle.path)
        samples = -(-bodies // found.manifest.bodies_per_sample)
        part = f"{bodies} bodies at {rate_hz:g} Hz"
        times_us: dict[str, float] = {}
        for one in measure_runners(found, settings, Load(rate_hz, samples), budget_s=budget_s):
            if one.timing is None:
                note(f"{one.name}: {one.reason}")
                continue
            p50_us, p99_us = one.timing.p50_us, one.timing.p99_us
            figures.append(Figure(part=part, what=one.name, bundle=bundle.name, value=p50_us, p99=p99_us, unit="us"))
            times_us[one.name] = p99_us
        if times_us:
            best = min(times_us, key=times_us.__getitem__)
            note(f"{bundle.name}: `runner: auto` takes {best}, whose p99 is {times_us[best]:,.0f} us")
    return figures
