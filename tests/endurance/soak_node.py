"""The node of a soak test, in a process of its own: `soak_node.py SETTINGS` (JSON). SIGTERM ends simulated time."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from scripted_faults import FaultyRunner, FaultySensor
from simulated_time import RATE_HZ, SimulatedTime

from skelanon.cli import logs
from skelanon.configs import PublishSettings, SyntheticSettings
from skelanon.configs.schema import MetricsSettings
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.stream.node import Node
from skelanon.stream.operations import Operations

LIVE = 4
"""The last so many sensors are live: the newest frame wins. The others lose nothing, and make time go by."""


def main(path: str) -> None:
    """Run until all simulated time is over, and write what was delivered and counted."""
    settings: dict[str, Any] = json.loads(Path(path).read_text())
    logs.start()
    count = settings["sensors"]
    leaders = count - LIVE
    simulated = SimulatedTime(count, leaders, round(settings["hours"] * 3600 * RATE_HZ))
    signal.signal(signal.SIGTERM, lambda *_: simulated.end())
    sensors = {
        f"s{number}": FaultySensor(number, _synthetic(number, settings), simulated, lossless=number < leaders)
        for number in range(count)
    }
    runner = FaultyRunner(OnnxRuntimeCpu(read_bundle(default_bundle_path())), simulated)
    publish = PublishSettings(endpoint=settings["endpoint"], wait_for_subscribers=1)
    with (
        Node(dict(sensors), runner, publish, clock=simulated.seconds) as node,
        Operations(node, MetricsSettings(endpoint="127.0.0.1:0")) as operations,
    ):
        Path(settings["address"]).write_text(operations.endpoint or "")
        node.run(operations.attend)
        done = {
            "simulated_s": simulated.seconds(),
            "streams": {
                name: {
                    "delivered": sensor.delivered,
                    "frames_in": counters.frames_in,
                    "frames_out": counters.frames_out,
                    "dropped": counters.dropped,
                    "withheld": counters.withheld,
                    "faults": counters.faults,
                }
                for (name, sensor), counters in zip(sensors.items(), node.counters, strict=True)
            },
            "sensor_faults": _summed([sensor.faults for sensor in sensors.values()]),
            "model_faults": runner.faults,
        }
    Path(settings["result"]).write_text(json.dumps(done))


def _synthetic(number: int, settings: dict[str, Any]) -> SyntheticSettings:
    return SyntheticSettings(kind="synthetic", persons=settings["persons"], seed=number % settings["seeds"], fast=True)


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    return {kind: sum(one.get(kind, 0) for one in counts) for kind in sorted({kind for one in counts for kind in one})}


if __name__ == "__main__":
    main(sys.argv[1])
