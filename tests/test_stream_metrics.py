"""Metrics, health and readiness: what the node counts is what monitors see, and nothing more."""

import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from skelanon.configs import PublishSettings
from skelanon.sensors.errors import SensorError
from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.sensors.sensor import Sensor
from skelanon.stream.latency import BOUNDS_US, STAGES, Latencies, percentiles
from skelanon.stream.node import Node
from skelanon.stream.operations.health import HUNG_S, health, readiness
from skelanon.stream.operations.pages import Page, pages, remembered

Frames = Callable[..., BodyFrame]
Runners = Callable[..., Any]
RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]
Step = BodyFrame | Exception | None

NAME = "S001C001P042R001A001"
PUBLISH = PublishSettings(endpoint="tcp://127.0.0.1:*")
ROOT = Path(__file__).resolve().parents[1]


class Scripted(Sensor):
    """Delivers what it is told, then nothing for ever."""

    lossless = True

    def __init__(self, *steps: Step) -> None:
        self._steps = iter(steps)

    def open(self) -> None:
        pass

    def read(self, timeout_ms: int) -> BodyFrame | None:
        step = next(self._steps, None)
        if step is None:
            threading.Event().wait(timeout_ms / 1e3)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        pass


def scrape(node: Node) -> dict[str, list[Sample]]:
    """The samples of each name."""
    page = pages(node)["/metrics"]()
    assert page.status == 200
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(page.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it does not come to be"
        threading.Event().wait(0.01)


def by_stream(samples: list[Sample]) -> dict[str, float]:
    return {sample.labels["stream"]: sample.value for sample in samples}


def test_histograms_hold_all_durations_and_percentiles_the_newest() -> None:
    durations = np.random.default_rng(0).integers(1, 3_000_000_000, 9000).tolist() + [b * 1000 for b in BOUNDS_US]
    latencies = Latencies()
    for duration in durations:
        latencies.add("infer", duration)
    newest = latencies.percentiles()["infer"]
    histogram = latencies.histograms["infer"]
    edges = [0, *(bound * 1000 for bound in BOUNDS_US), 10**12]
    naive = [sum(low < d <= high for d in durations) for low, high in itertools.pairwise(edges)]
    assert list(histogram.counts) == naive
    assert histogram.sum_ns == sum(durations)
    assert newest.p50 == pytest.approx(np.percentile(durations[-1024:], 50) / 1e3, abs=0.1)
    assert sum(latencies.histograms["send"].counts) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 100, 1024])
def test_percentiles_are_those_of_numpy(count: int) -> None:
    durations = np.random.default_rng(count).integers(1, 3_000_000_000, count)
    found = percentiles(durations.tolist())
    assert [found.p50, found.p95, found.p99] == (np.percentile(durations, [50, 95, 99]) / 1e3).round(1).tolist()


LATE = """
import sys, threading, time
import skelanon.cli.main
from skelanon.configs import check
from skelanon.stream.node import create_node
settings = {"sensors": {"a": {"kind": "synthetic", "rate_hz": 5}}, "publish": {"endpoint": "tcp://127.0.0.1:*"}}
with create_node(check(settings, "test")) as node:
    loaded = set(sys.modules)
    node.clock = lambda: 100 * time.monotonic()
    node.run(lambda: node.stop() if node.counters[0].frames_out > 5 and node.counters[0].faults else None)
print(sorted(set(sys.modules) - loaded))
"""


def test_a_node_under_way_loads_nothing_more() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"  # it could not while it has no descriptor left, and would end


def test_durations_that_nobody_asks_for_do_not_pile_up() -> None:
    latencies = Latencies()
    for _ in range(100_000):
        latencies.add("infer", 1)
    assert sum(latencies.histograms["infer"].counts) > 90_000  # counted without being asked for
    assert len(latencies._fresh["infer"]) < 10_000


def test_a_reader_never_sees_a_histogram_change() -> None:
    latencies = Latencies()
    latencies.add("infer", 1000)
    latencies.percentiles()
    before = latencies.histograms["infer"]
    counts = before.counts
    latencies.add("infer", 1000)
    latencies.percentiles()
    assert before.counts == counts
    assert sum(latencies.histograms["infer"].counts) == 2


def test_metrics_are_what_the_node_counted(body_frame: Frames, scripted_runner: Runners, run_node: RunNode) -> None:
    bad = body_frame(1)
    bad.joints[0, 3] = np.nan
    steps: list[Step] = [body_frame(1), body_frame(1), bad, SensorError("out"), no_bodies(5)]
    with run_node(lambda: Node({"a": Scripted(*steps), "b": Scripted()}, scripted_runner(), PUBLISH)) as node:
        wait_for(lambda: node.counters[0].frames_out == 4 and sum(node.latencies.histograms["total"].counts) == 4)
        found = scrape(node)
    assert by_stream(found["skelanon_frames_received_total"]) == {"a": 4, "b": 0}
    assert by_stream(found["skelanon_frames_published_total"]) == {"a": 4, "b": 0}
    assert by_stream(found["skelanon_frames_dropped_total"]) == {"a": 0, "b": 0}
    assert by_stream(found["skelanon_bodies_withheld_total"]) == {"a": 1, "b": 0}
    assert by_stream(found["skelanon_faults_total"])["a"] == 1
    assert by_stream(found["skelanon_subscriptions"]) == {"a": 0, "b": 0}
    assert set(by_stream(found["skelanon_last_frame_age_seconds"])) == {"a"}
    states = {(s.labels["stream"], s.labels["state"]) for s in found["skelanon_stream_state"] if s.value}
    assert ("a", "ok") in states
    assert len(states) == 2
    (model,) = found["skelanon_model_info"]
    assert model.labels == {"name": "scripted", "sha256": "0" * 64, "runner": "ScriptedRunner"}
    buckets = [s for s in found["skelanon_stage_duration_seconds_bucket"] if s.labels["stage"] == "total"]
    assert [s.value for s in buckets] == sorted(s.value for s in buckets)
    assert (buckets[-1].labels["le"], buckets[-1].value) == ("+Inf", 4)
    assert {s.labels["stage"] for s in found["skelanon_stage_duration_seconds_count"]} == set(STAGES)
    assert 0 < found["skelanon_uptime_seconds"][0].value < 60


def test_each_node_of_a_process_has_its_own(scripted_runner: Runners, run_node: RunNode) -> None:
    with (
        run_node(lambda: Node({"one": Scripted()}, scripted_runner(), PUBLISH)) as first,
        run_node(lambda: Node({"two": Scripted()}, scripted_runner(), PUBLISH)) as second,
    ):
        assert set(by_stream(scrape(first)["skelanon_faults_total"])) == {"one"}
        assert set(by_stream(scrape(second)["skelanon_faults_total"])) == {"two"}


def test_no_page_holds_what_a_sensor_says(body_frame: Frames, scripted_runner: Runners, run_node: RunNode) -> None:
    frame, track = body_frame(424242), "424242"
    steps: list[Step] = [frame, SensorError(f"{NAME}: serial 000123456789"), ZeroDivisionError(NAME)]
    with run_node(lambda: Node({"a": Scripted(*steps)}, scripted_runner(), PUBLISH)) as node:
        wait_for(lambda: node.counters[0].faults >= 2)
        texts = [page().body.decode() for page in pages(node).values()]
    joint = f"{frame.joints[0, 3, 1]:.4f}"
    for text in texts:
        for secret in (NAME, "000123456789", track, joint):
            assert secret not in text


def test_every_metric_is_in_the_documentation_and_the_other_way_round(
    scripted_runner: Runners, run_node: RunNode, body_frame: Frames
) -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    documented = set(re.findall(r"`((?:skelanon|process)_[a-z_]+)`", text))
    with run_node(lambda: Node({"a": Scripted(body_frame(1))}, scripted_runner(), PUBLISH)) as node:
        wait_for(lambda: node.counters[0].frames_in == 1)
        found = {re.sub("_(bucket|count|sum)$", "", name) for name in scrape(node)}
    assert {name for name in found if name.startswith("skelanon")} == {
        name for name in documented if name.startswith("skelanon")
    }
    assert found <= documented


def test_a_node_whose_loop_does_not_turn_is_not_healthy(scripted_runner: Runners) -> None:
    now = [100.0]
    with Node({"a": Scripted()}, scripted_runner(), PUBLISH, clock=lambda: now[0]) as node:
        assert health(node).healthy
        now[0] += HUNG_S + 0.1
        assert not health(node).healthy
        assert readiness(node).reason == "the node's loop hangs"
        assert pages(node)["/health"]().status == 503


def test_readiness_follows_the_sensors(body_frame: Frames, scripted_runner: Runners, run_node: RunNode) -> None:
    gate, failing = threading.Event(), threading.Event()

    class Gated(Scripted):
        def read(self, timeout_ms: int) -> BodyFrame | None:
            if failing.is_set():
                raise SensorError("out")
            return body_frame(1) if gate.wait(timeout_ms / 1e3) and not failing.wait(0.01) else None

    with run_node(lambda: Node({"a": Gated(), "b": Scripted()}, scripted_runner(), PUBLISH)) as node:
        wait_for(lambda: node.started)
        assert readiness(node).reason == "no sensor has delivered yet"
        assert readiness(node).sensors["a"].last_frame_age_s is None
        gate.set()
        wait_for(lambda: readiness(node).ready)
        assert readiness(node).sensors["a"].state == "ok"
        failing.set()
        node.counters[1].state = "fault"
        wait_for(lambda: not readiness(node).ready)
        assert readiness(node).reason == "every sensor, or the model, is at fault"
        assert health(node).healthy  # a restart would not help
        failing.clear()
        wait_for(lambda: readiness(node).ready)


def test_a_node_that_waits_for_subscribers_is_not_ready(scripted_runner: Runners, run_node: RunNode) -> None:
    waiting = PublishSettings(endpoint="tcp://127.0.0.1:*", wait_for_subscribers=1)
    with run_node(lambda: Node({"a": Scripted()}, scripted_runner(), waiting)) as node:
        assert readiness(node).reason == "waiting for subscribers"
        assert pages(node)["/ready"]().status == 503


def test_a_page_is_not_made_more_often_than_it_ages() -> None:
    now, made = [0.0], []

    def make() -> Page:
        made.append(now[0])
        return Page(200, "text/plain", b"")

    page = remembered(make, 0.5, lambda: now[0])
    for _ in range(100):
        page()
        now[0] += 0.05
    assert len(made) <= 11
    assert made[1] - made[0] >= 0.5
