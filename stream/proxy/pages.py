"""What the proxy's HTTP address answers. Labels are the names of nodes and doors in its own settings."""

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Final

import msgspec
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from skelanon.stream.operations.health import HUNG_S, Health
from skelanon.stream.operations.pages import (
    HEALTH_FRESH_S,
    JSON_TYPE,
    METRICS_FRESH_S,
    METRICS_TYPE,
    Page,
    Pages,
    remembered,
)

from .proxy import Door, Proxy
from .upstream import Upstream

_OF_NODES: Final[tuple[tuple[str, str, Callable[[Upstream], int]], ...]] = (
    ("skelanon_proxy_forwarded", "Messages taken from the node.", lambda node: node.forwarded),
    ("skelanon_proxy_malformed", "Messages dropped for their form, or their stream.", lambda node: node.malformed),
)
_OF_DOORS: Final[tuple[tuple[str, str, Callable[[Door], int]], ...]] = (
    ("skelanon_proxy_sent", "Messages handed to the door's clients.", lambda door: door.sent),
    ("skelanon_proxy_clients_refused", "Connections refused.", lambda door: door.outlet.refused),
    ("skelanon_proxy_renewals", "Times that all connections were cut.", lambda door: door.outlet.renewals),
)


class Readiness(msgspec.Struct, frozen=True):
    """Of the service: `ready` when the loop turns and at least one node is heard. nodes: whether each one is."""

    ready: bool
    nodes: dict[str, bool]


class ProxyCollector(Collector):
    """Reads a proxy, in any thread, without a lock: each number is whole."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        proxy = self._proxy
        build = GaugeMetricFamily("skelanon_build_info", "Version of skelanon.", labels=["version"])
        build.add_metric([version("skelanon")], 1)
        yield build
        age_s = max(0.0, proxy.clock() - proxy.turned_s)
        yield GaugeMetricFamily("skelanon_loop_age_seconds", "Since the proxy's loop last turned.", age_s)
        heard = GaugeMetricFamily("skelanon_proxy_node_heard", "1 while the node is heard.", labels=["node"])
        for node in proxy.upstreams:
            heard.add_metric([node.name], not node.silent)
        yield heard
        for name, about, read in _OF_NODES:
            counter = CounterMetricFamily(name, about, labels=["node"])
            for node in proxy.upstreams:
                counter.add_metric([node.name], read(node))
            yield counter
        for name, about, look in _OF_DOORS:
            counter = CounterMetricFamily(name, about, labels=["door"])
            for door in proxy.doors:
                counter.add_metric([door.name], look(door))
            yield counter

    def describe(self) -> list[Metric]:
        """Nothing: collecting is for when somebody asks."""
        return []


def pages(proxy: Proxy) -> Pages:
    """The pages of a proxy, each made when it is asked for."""
    from prometheus_client.exposition import generate_latest  # of no use to a proxy without the address

    registry = CollectorRegistry()
    registry.register(ProxyCollector(proxy))
    ProcessCollector(registry=registry)
    return {
        "/metrics": remembered(lambda: Page(200, METRICS_TYPE, generate_latest(registry)), METRICS_FRESH_S),
        "/health": remembered(lambda: _health(proxy), HEALTH_FRESH_S),
        "/ready": remembered(lambda: _ready(proxy), HEALTH_FRESH_S),
    }


def _health(proxy: Proxy) -> Page:
    age_s = max(0.0, proxy.clock() - proxy.turned_s)
    return Page(200 if age_s < HUNG_S else 503, JSON_TYPE, msgspec.json.encode(Health(age_s < HUNG_S, round(age_s, 3))))


def _ready(proxy: Proxy) -> Page:
    nodes = {node.name: not node.silent for node in proxy.upstreams}
    found = Readiness(_health(proxy).status == 200 and any(nodes.values()), nodes)
    return Page(200 if found.ready else 503, JSON_TYPE, msgspec.json.encode(found))
