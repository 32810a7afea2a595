"""A node's counters as Prometheus metrics. docs/operations.md lists them; nothing of them is counted twice.

Everything is read when it is asked for, from numbers that the node keeps anyway. Labels are names of streams, stages,
states and the model: nothing that a sensor or a recording says.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Final, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from skelanon.stream.counters import StreamCounters
from skelanon.stream.latency import BOUNDS_US
from skelanon.stream.node import Node
from skelanon.stream.wire import StatusState

_BREATH_S: Final = 1e-4
"""Between two metrics the node's thread is let in: with many streams they take longer than a frame."""
_EDGES: Final = [*(f"{bound / 1e6:g}" for bound in BOUNDS_US), "+Inf"]

_COUNTERS: Final[tuple[tuple[str, str, Callable[[StreamCounters], int]], ...]] = (
    ("skelanon_frames_received", "Frames from the sensor.", lambda counters: counters.frames_in),
    ("skelanon_frames_published", "Sensor frames published.", lambda counters: counters.frames_out),
    ("skelanon_frames_dropped", "Frames skipped: a newer one had come.", lambda counters: counters.dropped),
    ("skelanon_bodies_withheld", "Bodies not published: they failed a check.", lambda counters: counters.withheld),
    ("skelanon_faults", "Faults of the sensor, frames that the model failed.", lambda counters: counters.faults),
)


def registry_of(node: Node, version: str) -> CollectorRegistry:
    """A registry for one node and the process around it; several nodes of a process have one each."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(node, version))
    ProcessCollector(registry=registry)
    return registry


class NodeCollector(Collector):
    """Reads a node. In any thread, without a lock: each number is whole, and they may differ by a frame in age."""

    def __init__(self, node: Node, version: str) -> None:
        self._node = node
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """All metrics, one after the other."""
        for metric in itertools.chain(self._of_the_node(), self._of_streams(), [self._stages()]):
            yield metric
            time.sleep(_BREATH_S)

    def describe(self) -> list[Metric]:
        """Nothing: names cannot collide, and collecting is for when somebody asks."""
        return []

    def _of_the_node(self) -> Iterator[Metric]:
        node, bundle = self._node, self._node.bundle
        build = GaugeMetricFamily("skelanon_build_info", "Version of skelanon.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        model = GaugeMetricFamily(
            "skelanon_model_info", "The anonymizer, and what runs it.", labels=["name", "sha256", "runner"]
        )
        model.add_metric([bundle.manifest.name, bundle.sha256, node.runs_on], 1)
        yield model
        now_s = node.clock()
        yield GaugeMetricFamily("skelanon_uptime_seconds", "Since the node was made.", max(0.0, now_s - node.started_s))
        age_s = max(0.0, now_s - node.turned_s)
        yield GaugeMetricFamily("skelanon_loop_age_seconds", "Since the node's loop last turned.", age_s)
        yield CounterMetricFamily(
            "skelanon_clients_refused", "Connections refused: no CURVE, or a key unknown.", node.publisher.refused
        )

    def _of_streams(self) -> Iterator[Metric]:
        node = self._node
        for name, about, read in _COUNTERS:
            counter = CounterMetricFamily(name, about, labels=["stream"])
            for stream, counters in zip(node.streams, node.counters, strict=True):
                counter.add_metric([stream], read(counters))
            yield counter
        state = GaugeMetricFamily("skelanon_stream_state", "1 for the stream's state.", labels=["stream", "state"])
        age = GaugeMetricFamily("skelanon_last_frame_age_seconds", "Since the last frame.", labels=["stream"])
        subscriptions = GaugeMetricFamily("skelanon_subscriptions", "To the stream's frames.", labels=["stream"])
        now_s = node.clock()
        for number, (stream, counters) in enumerate(zip(node.streams, node.counters, strict=True)):
            found = counters.state
            for possible in get_args(StatusState):
                state.add_metric([stream, possible], found == possible)
            if counters.frames_in:
                age.add_metric([stream], max(0.0, now_s - counters.last_frame_s))
            subscriptions.add_metric([stream], node.publisher.subscriptions(number))
        yield from (state, age, subscriptions)

    def _stages(self) -> Metric:
        stages = HistogramMetricFamily(
            "skelanon_stage_duration_seconds", "Of each stage of the way through the node.", labels=["stage"]
        )
        for stage, histogram in self._node.latencies.histograms.items():
            cumulative = itertools.accumulate(histogram.counts)
            stages.add_metric([stage], list(zip(_EDGES, cumulative, strict=True)), histogram.sum_ns / 1e9)
        return stages
