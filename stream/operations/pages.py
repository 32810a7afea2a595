"""What the node's HTTP address answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final

import msgspec

from skelanon.stream.node import Node

from .health import health, readiness

METRICS_FRESH_S: Final = 1.0
HEALTH_FRESH_S: Final = 0.25
"""A page is made at most once in so long, however often it is asked for: who asks in a loop costs the node little."""
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered: an HTTP status and a body."""

    status: int
    type: str
    body: bytes


Pages = dict[str, Callable[[], Page]]


def pages(node: Node) -> Pages:
    """The pages of a node, each made when it is asked for."""
    from prometheus_client.exposition import generate_latest  # of no use to a node without the address

    from .collector import registry_of

    registry = registry_of(node, version("skelanon"))
    return {
        "/metrics": remembered(lambda: Page(200, METRICS_TYPE, generate_latest(registry)), METRICS_FRESH_S),
        "/health": remembered(partial(_health, node), HEALTH_FRESH_S),
        "/ready": remembered(partial(_ready, node), HEALTH_FRESH_S),
    }


def remembered(
    make: Callable[[], Page], fresh_s: float, clock: Callable[[], float] = time.monotonic
) -> Callable[[], Page]:
    """Make a page anew only where the last one is older than `fresh_s`."""
    made: list[tuple[float, Page]] = []

    def page() -> Page:
        now_s = clock()
        if not made or now_s - made[0][0] >= fresh_s:
            made[:] = [(now_s, make())]
        return made[0][1]

    return page


def _health(node: Node) -> Page:
    found = health(node)
    return Page(200 if found.healthy else 503, JSON_TYPE, msgspec.json.encode(found))


def _ready(node: Node) -> Page:
    found = readiness(node)
    return Page(200 if found.ready else 503, JSON_TYPE, msgspec.json.encode(found))
