"""The soak of docs/reliability.md, in seconds; and that what it looks for would be found."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ledger import Ledger
from raw_search import RawSearch, synthetic_joints
from simulated_time import number_of, stamp
from soak import growth, wrong

from skelanon.stream.anonymous import State
from skelanon.stream.wire import FrameMessage

ENDURANCE = Path(__file__).parent / "endurance"


@pytest.mark.skipif(sys.platform == "win32", reason="asks the node to end by SIGTERM")
def test_minutes_with_faults_and_subscribers_that_come_and_go(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, str(ENDURANCE / "soak.py"), "--hours", "0.03", "--minutes", "1", "--out", str(out)],
        capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    report = json.loads(out.read_bytes())
    assert (done.returncode, report["wrong"]) == (0, []), done.stderr
    assert report["reached_hours"] == pytest.approx(0.03)
    assert report["node"]["sensor_faults"] == {"damaged recording": 1, "foreign error": 1}
    assert sum(report["node"]["model_faults"].values()) == 1
    assert sum(stream["delivered"] for stream in report["node"]["streams"].values()) >= 16 * 3240 - 2
    assert report["clients"][0]["bodies"] > 20_000
    assert report["clients"][0]["dropped"] > 0  # the live sensors outrun the node
    assert all(client["searched"] > 100_000 for client in report["clients"])


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM")
def test_an_end_leaves_no_process_behind(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    command = [sys.executable, str(ENDURANCE / "soak.py"), "--hours", "1", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not out.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) != 0
    assert [one for one in psutil.process_iter() if sid(one.pid) == process.pid] == []


def sid(process: int) -> int | None:
    """The session that a process belongs to."""
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def frame(number: int | None, sequence: int, dropped: int = 0, state: State = "ok") -> FrameMessage:
    captured_ns = 1_800_000_000 * 10**9 if number is None else stamp(number, number)
    return FrameMessage(
        stream="a", epoch=1, sequence=sequence, captured_ns=captured_ns, published_ns=1, state=state, bodies=(),
        dropped=dropped,
    )  # fmt: skip


GOOD = [frame(7, 20), frame(8, 21), frame(None, 22, state="fault"), frame(12, 23, dropped=3), frame(13, 24)]


@pytest.mark.parametrize(
    ("frames", "unexplained"),
    [
        (GOOD, 0),
        ([*GOOD, frame(15, 25)], 1),  # a frame is missing and nobody says so
        ([*GOOD, frame(14, 25, dropped=2)], 2),  # drops that were none
        ([*GOOD, frame(14, 27)], 2),  # messages that did not arrive
        ([*GOOD, frame(None, 25, dropped=1, state="fault")], 1),
    ],
)
def test_a_ledger_wants_every_missing_frame_explained(frames: list[FrameMessage], unexplained: int) -> None:
    ledger = Ledger()
    for one in frames:
        ledger.take(one)
    assert ledger.unexplained == unexplained
    assert ledger.of_sensors["a"] == sum(number_of(one.captured_ns) is not None for one in frames)


def test_a_number_survives_a_clock_that_is_set() -> None:
    for offset_s in (0, 3600, -7200):
        assert number_of(stamp(123_456, 123_400, offset_s)) == 123_400


def test_raw_joints_are_found_at_any_offset_in_either_order_and_nowhere_else() -> None:
    raw = synthetic_joints([3], 1)
    for offset in range(5):
        for order in ("<f4", ">f4"):
            search = RawSearch(raw)
            search.add(bytes(100 + offset) + raw[777].astype(order).tobytes() + bytes(99))
            search.finish()
            assert search.found == 1
    search = RawSearch(raw)
    whole = raw[777].tobytes()
    for message in (np.random.default_rng(1).bytes(300_000), whole[:6], whole[6:], b"", (raw[:500] * 0.9).tobytes()):
        search.add(message)
    search.finish()
    assert (search.found, search.searched) == (0, 300_000 + 12 + 6000)


def test_every_wrong_is_named() -> None:
    counts = dict.fromkeys(("raw", "names", "unexplained", "lost", "malformed"), 0)
    client: dict[str, Any] = {**counts, "done": True, "frames": 9, "of_sensors": {"s0": 8}}
    stream = {"delivered": 10, "frames_in": 10, "frames_out": 8, "dropped": 2}
    flat = {"early": 100.0, "late": 100.0}
    good: dict[str, Any] = {
        "node_exit": 0, "node": {"streams": {"s0": stream}}, "clients": [client], "log_leaks": [],
        "growth": {"rss_mb": flat, "descriptors": flat, "threads": flat},
    }  # fmt: skip
    assert wrong(good) == []
    for name in counts:
        assert name in wrong(good | {"clients": [client | {name: 1}]})[0]
    assert wrong(good | {"clients": [client | {"done": False}]})
    assert wrong(good | {"clients": [client | {"of_sensors": {"s0": 7}}]})
    assert wrong(good | {"node": {"streams": {"s0": stream | {"delivered": 11}}}})
    assert wrong(good | {"log_leaks": ["Traceback"]}) == ["Traceback in the log"]
    assert wrong(good | {"node_exit": 1}) == ["the node ended with code 1"]
    for name in ("rss_mb", "descriptors", "threads"):
        leaking = good["growth"] | {name: {"early": 100.0, "late": 109.0}}
        assert wrong(good | {"growth": leaking}) == [f"{name} grew from 100.0 to 109.0"]


def test_growth_is_from_the_second_quarter_to_the_last() -> None:
    samples = [{"rss_mb": float(at), "descriptors": 3.0, "threads": 5.0, "client_rss_mb": 1.0} for at in range(40)]
    assert growth(samples)["rss_mb"] == {"early": 19.0, "late": 39.0}
    assert growth(samples[:39]) == {}
