"""Single calls of bundles on one core, as the node makes them, bare, and beside the same arithmetic by hand."""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from skelanon.export.bundle import read_bundle
from skelanon.export.manifest import Manifest
from skelanon.export.ort_cpu import OnnxRuntimeCpu, cpu_session
from skelanon.export.runner import Floats

from .figures import Figure, Report, durations, to_json, to_table
from .machine import cores, this_machine, tied_to
from .minimum import minimum
from .plan import RATE_HZ, Candidate, candidates

BATCHES: Final = (1, 2, 8, 64)
MOST_US: Final = {"template": 50.0}
MOST_US_OF_OTHERS: Final = 60.0
MOST_TIMES_THE_MINIMUM: Final = 2.0
LEAST_TIMES_THE_THROUGHPUT: Final = 4.0
WIDTH: Final = 120
"""Of the table where it does not go to a terminal."""
STEP, CALL, IN_PLACE = "Runner.step", "session", "session, buffers in place"
FLAT_OUT: Final = "flat out"
PACED: Final = f"{RATE_HZ:.0f} Hz"


@dataclass(frozen=True, slots=True)
class Effort:
    """Rounds, and in each of them calls of each kind; those at sensor rate come after a pause of 1/30 s each."""

    rounds: int = 10
    calls: int = 200
    paced_calls: int = 6


QUICK: Final = Effort(rounds=2, calls=20, paced_calls=1)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to compute one bundle for one batch size. Its inputs are the same in every call."""

    bundle: Candidate
    what: str
    samples: int
    call: Callable[[], object]


def run_calls(bundles: list[str], *, out: Path | None, quick: bool) -> None:
    """Measure, show the table, write the JSON."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    chosen, machine = candidates(bundles), this_machine()
    with threadpool_limits(1), tied_to(cores()[-1:]) if cores() else nullcontext():
        contestants = [one for bundle in chosen for samples in BATCHES for one in _contestants(bundle, samples)]
        figures = measure(contestants, QUICK if quick else Effort())
    report = Report(machine, quick, tuple(figures))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(to_table(report))
    if out is not None:
        out.write_bytes(to_json(report))


def _contestants(candidate: Candidate, samples: int) -> list[Contestant]:
    bundle = read_bundle(candidate.path)
    manifest = bundle.manifest
    runner, session = OnnxRuntimeCpu(bundle), cpu_session(bundle.model)
    joints = np.random.default_rng(0).standard_normal((samples, *manifest.inputs["joints"])).astype(np.float32)
    feed = {name: np.zeros((samples, *shape), np.float32) for name, shape in manifest.inputs.items()}
    feed |= {"joints": joints} | ({"present": np.ones(joints.shape[:2], np.float32)} if "present" in feed else {})
    if "state" in feed:
        feed["state"] = session.run(["next_state"], feed)[0]  # that of tracks that are under way
    rows, present = list(range(samples)), np.ones(joints.shape[:2], np.float32)
    runner.step(rows, [True] * samples, joints, present)
    old, outputs = [False] * samples, list(manifest.outputs)
    what, by_hand = minimum(bundle, joints)
    return [
        Contestant(candidate, STEP, samples, lambda: runner.step(rows, old, joints, present)),
        Contestant(candidate, CALL, samples, lambda: session.run(outputs, feed)),
        Contestant(candidate, IN_PLACE, samples, _in_place(session, manifest, feed)),
        Contestant(candidate, what, samples, by_hand),
    ]


def _in_place(session: Any, manifest: Manifest, feed: dict[str, Floats]) -> Callable[[], dict[str, Floats]]:
    """Calls that read the arrays of the feed and write into the same arrays every time."""
    binding, samples = session.io_binding(), len(feed["joints"])
    outputs = {name: np.zeros((samples, *shape), np.float32) for name, shape in manifest.outputs.items()}
    for bind, arrays in ((binding.bind_input, feed), (binding.bind_output, outputs)):
        for name, array in arrays.items():
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run() -> dict[str, Floats]:
        session.run_with_iobinding(binding)
        return outputs

    return run


def measure(contestants: list[Contestant], effort: Effort) -> list[Figure]:
    """All take turns, in every round, flat out and then at sensor rate."""
    taken: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(effort.rounds):
        for number, one in enumerate(contestants):
            one.call()
            taken[FLAT_OUT, number] += [_time_us(one.call) for _ in range(effort.calls)]
        for _ in range(effort.paced_calls):
            for number, one in enumerate(contestants):
                time.sleep(1 / RATE_HZ)
                taken[PACED, number].append(_time_us(one.call))
    figures = []
    for part in (FLAT_OUT, PACED):
        for number, one in enumerate(contestants):
            p50, p95, p99 = np.percentile(taken[part, number], [50, 95, 99]).tolist()
            figure = durations(part, f"{one.what}, {one.samples}", [(p50, p95, p99)], bundle=one.bundle.name)
            figures.append(figure)
    return _with_targets(contestants, figures[: len(contestants)]) + figures[len(contestants) :]


def _time_us(call: Callable[[], object]) -> float:
    start_ns = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start_ns) / 1e3


def _with_targets(contestants: list[Contestant], figures: list[Figure]) -> list[Figure]:
    """The figures of flat out, and what is asked of them."""
    found = {(one.bundle, one.what, one.samples): figure for one, figure in zip(contestants, figures, strict=True)}
    targets = []
    for bundle in dict.fromkeys(one.bundle for one in contestants):
        by_hand = next(
            one.what for one in contestants if one.bundle == bundle and one.what not in (STEP, CALL, IN_PLACE)
        )
        most_us = MOST_US.get(bundle.anonymizer, MOST_US_OF_OTHERS)
        for what in (STEP, CALL):
            p50 = {samples: found[bundle, what, samples].value for samples in BATCHES}
            ratio = p50[1] / found[bundle, by_hand, 1].value
            about: dict[str, Any] = {"part": "targets", "bundle": bundle.name}
            targets += [
                Figure(what=f"{what}, 1", value=p50[1], unit="us", at_most=most_us, **about),
                Figure(
                    what=f"{what} : {by_hand}, 1", value=ratio, unit="times", at_most=MOST_TIMES_THE_MINIMUM, **about
                ),
                Figure(
                    what=f"{what}, throughput of {BATCHES[-1]} : 1",
                    value=BATCHES[-1] * p50[1] / p50[BATCHES[-1]],
                    unit="times",
                    at_least=LEAST_TIMES_THE_THROUGHPUT,
                    **about,
                ),
            ]
    return figures + targets
