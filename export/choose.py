"""`model.runner: auto`: measures what is at hand, takes the best p99, and remembers it for this machine and load."""

import hashlib
import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from skelanon.configs.schema import ModelSettings, RunnerName

from .availability import Availability, available_runners
from .bundle import Bundle
from .cache import cache_folder, keep
from .candidates import make_runner, starts_soon
from .errors import BundleError, RunnerError
from .gpu import gpu_name
from .runner import Runner
from .timing import Load, Timing, measure

log = logging.getLogger(__name__)

BUDGET_S: Final = 1.0
"""For each candidate, at start-up."""
REMEMBERED: Final = 32
_PACKAGES: Final = ("skelanon", "onnxruntime", "onnxruntime-gpu", "tensorrt")

Make = Callable[[RunnerName, Bundle, ModelSettings], Runner]


class _Choice(Struct, frozen=True):
    runner: RunnerName
    p99_us: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate: how long it takes, or why it was not measured."""

    name: RunnerName
    timing: Timing | None
    reason: str


def choose_runner(bundle: Bundle, settings: ModelSettings, load: Load, make: Make = make_runner) -> RunnerName:
    """The runner that has, or had at an earlier start, the best p99 of all that are at hand; the log says why.

    Raises RunnerError where there is none.
    """
    usable = [one.name for one in available_runners() if _obstacle(one, bundle, settings) is None]
    if len(usable) == 1:
        log.info("`model.runner: auto`: %s, nothing else is at hand", usable[0])
        return usable[0]
    path, key = cache_folder(settings.cache) / "runners.json", _key(bundle, settings, load, usable)
    known = _read(path)
    if key not in known:
        measured = list(measure_runners(bundle, settings, load, make=make))
        known[key] = _best(measured)
        kept = dict(list(known.items())[-REMEMBERED:])
        with suppress(RunnerError):  # a cache that cannot be written is no reason not to start
            keep(path, msgspec.json.encode(kept))
    choice = known[key]
    compared = ", ".join(f"{name} {p99_us:.0f} us" for name, p99_us in choice.p99_us.items())
    log.info("`model.runner: auto`: %s, by its p99 of a call of %d samples: %s", choice.runner, load.samples, compared)
    return choice.runner


def measure_runners(
    bundle: Bundle, settings: ModelSettings, load: Load, *, budget_s: float = BUDGET_S, make: Make = make_runner
) -> Iterator[Measured]:
    """Measure each runner that this machine can use and that starts without building an engine first."""
    for one in available_runners():
        obstacle = _obstacle(one, bundle, settings)
        if obstacle is None:
            yield _measured(one.name, bundle, settings, load, budget_s, make)
        else:
            yield Measured(one.name, None, obstacle)


def _obstacle(one: Availability, bundle: Bundle, settings: ModelSettings) -> str | None:
    """Why a runner is not to be measured now; a start is not to wait for an engine."""
    if not one.usable:
        return one.reason
    try:
        ready = starts_soon(one.name, bundle, settings)
    except RunnerError as error:
        return str(error)
    return None if ready else "its engine is not built yet: start with `model.runner` set to it once"


def _measured(
    name: RunnerName, bundle: Bundle, settings: ModelSettings, load: Load, budget_s: float, make: Make
) -> Measured:
    try:
        runner = make(name, bundle, settings)
        try:
            return Measured(name, measure(runner, load, budget_s), "measured")
        finally:
            runner.close()
    except (RunnerError, BundleError) as error:
        log.warning("`model.runner: auto`: %s is left out: %s", name, error)
        return Measured(name, None, str(error))


def _best(measured: list[Measured]) -> _Choice:
    p99_us: dict[RunnerName, float] = {one.name: one.timing.p99_us for one in measured if one.timing is not None}
    if not p99_us:
        raise RunnerError(f"no runner works here: {'; '.join(f'{one.name}: {one.reason}' for one in measured)}")
    return _Choice(min(p99_us, key=lambda name: p99_us[name]), {str(name): value for name, value in p99_us.items()})


def _read(path: Path) -> dict[str, _Choice]:
    """What was chosen before; nothing where the file is absent or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Choice])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        log.warning("`model.cache`: %s is damaged: measuring anew", path.name)
        return {}


def _key(bundle: Bundle, settings: ModelSettings, load: Load, usable: list[RunnerName]) -> str:
    """A digest of all that the outcome depends on: hardware, versions, model, settings, load."""
    gpu = ""
    with suppress(RunnerError):
        gpu = gpu_name()
    versions = []
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    parts = (bundle.sha256, cpu_name(), os.cpu_count(), gpu, versions, usable, load.calls_hz, load.samples,
             settings.threads, settings.precision, settings.buckets)  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cpu_name() -> str:
    """Model of the processor, as the system names it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
