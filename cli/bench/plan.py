"""What is measured, and how long. What is compared takes turns, so that a noisy machine is noisy to both."""

from dataclasses import dataclass
from typing import Final

from skelanon.export.bundle import default_bundle_path, read_bundle

RATE_HZ: Final = 30.0
LIFETIME_S: Final = 60.0
"""A process that was started to be measured at sensor rate ends by then, come what may."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds and durations; a median is taken over rounds."""

    rounds: int = 3
    paced_s: float = 2.0
    """Of one run at sensor rate, in each round, for each bundle, transport and the bare relay."""
    flat_out_s: float = 1.5
    """Of one run as fast as possible, beyond the first second."""
    sensors: int = 64
    sensors_s: float = 5.0
    starts: int = 5
    parses: int = 7
    transports: tuple[str, ...] = ("ipc", "tcp")


QUICK: Final = Plan(
    rounds=1, paced_s=0.8, flat_out_s=0.3, sensors=8, sensors_s=0.5, starts=1, parses=3, transports=("ipc",)
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bundle to measure: where it is, its name, and the kind of its anonymizer."""

    path: str
    name: str
    anonymizer: str


def candidates(bundles: list[str]) -> list[Candidate]:
    """The bundles that the command line names, verified. Raises BundleError."""
    found = []
    for bundle in bundles:
        path = str(default_bundle_path()) if bundle == "default" else bundle
        manifest = read_bundle(path).manifest
        found.append(Candidate(path, manifest.name, manifest.anonymizer))
    return found
