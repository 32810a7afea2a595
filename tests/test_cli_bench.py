"""`skelanon bench`: every figure is there and adds up. How large the figures are is no test's business."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from rich.console import Console

from skelanon.cli.bench.daemon import daemon
from skelanon.cli.bench.figures import Figure, Report, durations, to_json, to_table
from skelanon.cli.bench.latency import message_bytes
from skelanon.cli.bench.machine import this_machine, usage
from skelanon.cli.bench.parsing import made_up_recording
from skelanon.cli.bench.tap import Run, Tap
from skelanon.cli.bench.workplace import BenchError, Workplace
from skelanon.cli.dict_parser import dict_parser
from skelanon.export.bundle import default_bundle_path
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.ntu import read_skeleton
from skelanon.stream.anonymizer import Anonymizer
from skelanon.stream.latency import STAGES, Latencies, Stopwatch
from skelanon.stream.wire import StatusMessage, encode_frame, topic

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and cores that can be assigned")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Sockets lie in it, whose paths may not be long."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def start_bench(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """In a session of its own, by which what it leaves behind is found."""
    return subprocess.Popen(
        [sys.executable, "-m", "skelanon.cli.main", "bench", "--quick", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def left_behind(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@linux
@pytest.mark.slow
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path, short_folder: Path) -> None:
    out, temporary = tmp_path / "figures.json", short_folder
    process = start_bench(temporary, "--out", str(out))
    table, errors = process.communicate(timeout=110)
    assert process.returncode == 0, errors
    assert left_behind(process.pid) == []
    assert list(temporary.iterdir()) == []  # of ours, or of the telemetry of onnxruntime
    report = msgspec.json.decode(out.read_bytes(), type=dict[str, Any])
    machine = report["machine"]
    assert machine["cores"] >= 1
    assert {"python", "numpy", "pyzmq", "onnxruntime", "skelanon"} <= set(machine["versions"])
    assert machine["cpu"]
    assert machine["cpu"] in table
    assert report["quick"] is True

    parts: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in report["figures"]:
        assert row["what"] not in parts[row["part"]]
        parts[row["part"]][row["what"]] = row
        assert row["what"] in table
    stages = {f"stage: {stage}" for stage in STAGES}
    paced, flat, crowd, start, reading = parts.values()
    assert set(paced) == stages | {"node, ipc", "bare relay, ipc", "node : relay, ipc"}
    assert set(flat) == stages | {"one subscriber", "no subscriber", "lost"}
    assert set(crowd) == {"asked for", "published", "dropped", "dropped at start", "lost", "CPU", "threads"}
    assert set(start) == {"first frame", "memory"}
    assert set(reading) == {"skelanon", "plain dict parser", "times as fast"}
    assert_consistent(paced, flat, crowd, start, reading)


def assert_consistent(
    paced: dict[str, Any], flat: dict[str, Any], crowd: dict[str, Any], start: dict[str, Any], reading: dict[str, Any]
) -> None:
    for row in (*paced.values(), *flat.values()):
        if "p95" in row:
            assert 0 < row["value"] <= row["p95"] <= row["p99"]
    node, relay = paced["node, ipc"]["value"], paced["bare relay, ipc"]["value"]
    assert paced["node : relay, ipc"]["value"] == pytest.approx(node / relay)
    parts_us = [paced[f"stage: {stage}"]["value"] for stage in STAGES]
    assert max(parts_us[:-1]) <= parts_us[-1]  # no stage takes longer than all of them
    assert flat["lost"]["value"] == 0
    assert flat["one subscriber"]["value"] > 30
    assert crowd["lost"]["value"] == 0
    assert crowd["published"]["value"] <= 1.5 * crowd["asked for"]["value"]
    assert 0 < crowd["CPU"]["value"] < 105
    assert crowd["threads"]["value"] > 8  # one for each sensor, and the node's
    assert 0 < start["first frame"]["value"] <= start["first frame"]["worst"]
    assert start["memory"]["value"] > 10
    assert reading["times as fast"]["value"] == pytest.approx(
        reading["plain dict parser"]["value"] / reading["skelanon"]["value"]
    )


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_all_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "figures.json"
    process = start_bench(tmp_path, "--out", str(out))
    deadline = time.monotonic() + 30
    while len(left_behind(process.pid)) < 2:  # until it has started the first node
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(number)
    shown, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "nothing was written" in shown
    assert "Traceback" not in errors
    assert left_behind(process.pid) == []
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_too_long_for_sockets_is_named(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    process = start_bench(long)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "set TMPDIR to a shorter folder" in " ".join(errors.split())


def test_a_bundle_that_cannot_be_read_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    process = start_bench(tmp_path, "--bundle", str(tmp_path / "absent.onnx"))
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "error: cannot read the bundle" in errors
    assert shown == ""


def test_a_node_that_fails_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    with (
        Workplace() as work,
        Tap(endpoint := work.new_endpoint("ipc"), b"") as tap,
        daemon(work, str(tmp_path / "absent.onnx"), endpoint) as node,
        pytest.raises(BenchError, match="failed: error: cannot read the bundle"),
    ):
        next(tap.messages(node))


def test_the_relay_sends_as_many_bytes_as_the_node(
    body_frame: Callable[..., BodyFrame], scripted_runner: Callable[..., Any]
) -> None:
    anonymizer = Anonymizer(scripted_runner(), sensors=1)
    [outcome] = anonymizer.anonymize([(0, body_frame(7, captured_ns=time.time_ns()))], Stopwatch(Latencies()))
    [body] = outcome.frame.bodies
    message = encode_frame(
        outcome.frame, stream="bench-0", epoch=1 << 62, sequence=1000, published_ns=time.time_ns(), dropped=0
    )
    assert abs(len(message) - message_bytes()) <= 4  # a small random id takes fewer bytes
    assert body.tracking


def test_the_made_up_recording_has_no_idle_column_and_reads_the_same_by_both(tmp_path: Path) -> None:
    path = made_up_recording(tmp_path / "made-up.skeleton")
    ours, plain = read_skeleton(path), dict_parser(path)
    bodies = [body for frame in plain["frameInfo"] for body in frame["bodyInfo"]]
    assert len(bodies) == len(ours.track_ids) > 0
    theirs = [[[joint[axis] for axis in "xyz"] for joint in body["jointInfo"]] for body in bodies]
    np.testing.assert_array_equal(ours.joints, np.array(theirs, np.float32))
    values = np.array([[list(joint.values())[:11] for joint in body["jointInfo"]] for body in bodies])
    assert np.count_nonzero(values[..., 3:]) == values[..., 3:].size


def status(frames_out: int, uptime_s: float, dropped: int) -> StatusMessage:
    return StatusMessage(
        stream="bench-0",
        epoch=1,
        state="ok",
        uptime_s=uptime_s,
        rate_in_hz=0.0,
        rate_out_hz=0.0,
        frames_in=frames_out + dropped,
        frames_out=frames_out,
        dropped=dropped,
        withheld=0,
        faults=0,
        latency_us={},
    )


def test_rates_drops_and_losses_come_from_the_statuses() -> None:
    run = Run(
        frames=290,
        first={"a": status(10, 1.0, 2), "b": status(40, 1.5, 0)},
        last={"a": status(100, 3.0, 3), "b": status(200, 3.5, 0)},
    )
    assert run.rate_hz == 90 / 2 + 160 / 2
    assert (run.dropped_before, run.dropped, run.lost) == (2, 1, 10)


def test_a_node_is_tapped_over_tcp_and_ends_with_the_workplace() -> None:
    with Workplace() as work, Tap(endpoint := work.new_endpoint("tcp"), topic("bench-0", "frame")) as tap:
        node = daemon(work, str(default_bundle_path()), endpoint)
        stream, kind, _ = next(tap.messages(node))
        used = usage(node.pid)
    assert (stream, kind) == ("bench-0", "frame")
    assert used is None or used.threads >= 2
    assert not psutil.pid_exists(node.pid)


def test_a_duration_is_the_median_of_its_rounds() -> None:
    row = durations("30 Hz", "node", [(1.0, 10.0, 20.0), (3.0, 12.0, 30.0), (2.0, 11.0, 90.0)])
    assert (row.value, row.p95, row.p99) == (2.0, 11.0, 30.0)


@pytest.mark.parametrize(
    ("value", "at_most", "at_least", "met"),
    [(1.0, None, None, None), (0, 0, None, True), (1, 0, None, False), (3, None, 3, True), (2.9, None, 3, False)],
)
def test_targets(value: float, at_most: float | None, at_least: float | None, met: bool | None) -> None:
    row = Figure(part="p", what="w", value=value, unit="times", at_most=at_most, at_least=at_least)
    assert row.met is met
    report = Report(this_machine(), False, (row,))
    [about] = msgspec.json.decode(to_json(report))["figures"]
    assert about.get("met") is met
    console = Console(width=200)
    with console.capture() as shown:
        console.print(to_table(report))
    assert ("missed" in shown.get(), " met" in shown.get()) == (met is False, met is True)
