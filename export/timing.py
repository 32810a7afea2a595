"""How long a runner takes for the load of a node, and whether it computes what the CPU computes."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from skelanon.sensors.population import Activity, population, skeleton_sequence

from .bundle import Bundle
from .errors import RunnerError
from .manifest import Manifest
from .runner import Floats, RowRunner, Runner

FEWEST_CALLS: Final = 20
MOST_CALLS: Final = 2000
UNCOUNTED_CALLS: Final = 3
SUMMED_OTHERWISE: Final = 4.0
"""How many times the exporter's own tolerance a GPU may differ, which adds up in another order."""
TF32_TOLERANCE_M: Final = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """What a node asks of its runner: so many calls a second, of so many samples each; infinite: flat out."""

    calls_hz: float
    samples: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of single calls, microseconds."""

    p50_us: float
    p99_us: float


def measure(
    runner: Runner,
    load: Load,
    budget_s: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Timing:
    """Call a runner as a node would, at its pace: a processor that has gone to rest in between answers later."""
    period_s = 0.0 if math.isinf(load.calls_hz) else 1.0 / load.calls_hz
    calls = MOST_CALLS if not period_s else min(MOST_CALLS, max(FEWEST_CALLS, round(budget_s / period_s)))
    frames = made_up_frames(runner.manifest, load.samples, 8)
    present = np.ones(frames.shape[1:3], np.float32)
    rows, durations = list(range(load.samples)), []
    next_s = clock()
    end_s = math.inf
    for call in range(UNCOUNTED_CALLS + calls):
        sleep(max(0.0, next_s - clock()))
        before = clock()
        runner.step(rows, [call == 0] * load.samples, frames[call % len(frames)], present)
        after = clock()
        next_s = max(next_s + period_s, after)
        if call < UNCOUNTED_CALLS:
            end_s = after + 2 * budget_s
            continue
        durations.append(after - before)
        if after > end_s and len(durations) >= FEWEST_CALLS:
            break
    p50, p99 = (np.percentile(durations, [50, 99]) * 1e6).tolist()
    return Timing(round(p50, 1), round(p99, 1))


def check_against(runner: RowRunner, reference: RowRunner, bundle: Bundle, *, tf32: bool = False) -> None:
    """Raise RunnerError unless both compute the same, states carried and batches changing; both forget it again."""
    manifest = bundle.manifest
    allowed = max(SUMMED_OTHERWISE * manifest.parity_tolerance_m, TF32_TOLERANCE_M if tf32 else 0.0)
    frames = made_up_frames(manifest, 6, 4)
    worst = 0.0
    for one in (runner, reference):
        one.reseed(0)
    for number, joints in enumerate(frames):
        count = len(joints) - number
        rows, fresh = list(range(count)), [number == 0] * count
        present = np.ones((count, manifest.bodies_per_sample), np.float32)
        ours, theirs = (one.step(rows, fresh, joints[:count], present) for one in (runner, reference))
        worst = max(worst, float(np.nan_to_num(np.abs(ours - theirs), nan=np.inf).max()))
    for one in (runner, reference):
        one.reseed(None)
    if worst > allowed:
        raise RunnerError(
            f"it computes something else than the CPU: {worst:.2g} apart, {allowed:.2g} is allowed; "
            "set `model.runner: cpu`, and please report this"
        )


def made_up_frames(manifest: Manifest, samples: int, frames: int) -> Floats:
    """(frames, N, P, 25, 3) float32, metres, camera axes: people who walk, each sample a little elsewhere."""
    bodies = manifest.bodies_per_sample
    walks = [skeleton_sequence(person, Activity.WALK, 30.0, frames, 0) for person in population(0, 4)]
    found = np.stack([walks[number % len(walks)] for number in range(samples * bodies)], 1)  # (T, N * P, 25, 3)
    found = found + np.linspace(0.0, 0.5, samples * bodies, dtype=np.float32)[:, None, None]
    return found.reshape(frames, samples, bodies, *found.shape[2:]).astype(np.float32)
