"""Soak: simulated hours of a node with faulty sensors and subscribers that come and go.

    PYTHONPATH=tests/endurance python -m soak --hours 8 --minutes 25 --out build/soak.json

`--minutes` is the longest real time; what was reached by then is reported. Exit code 1: something is not as it must be.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

HERE: Final = Path(__file__).parent
SENSORS: Final = 16
CLIENTS: Final = 5
"""One that stays, and four that join and leave."""
SAMPLE_S: Final = 1.0
LEAST_SAMPLES: Final = 10
"""In a quarter of the time, for growth to mean anything."""
REPORT_S: Final = 10.0
PATIENCE_S: Final = 30.0
MOST_GROWTH: Final = {"rss_mb": 8.0, "descriptors": 8, "threads": 0}
"""From the greatest value in the second quarter of the time to the greatest in the last. Clients have descriptors."""


class Soak:
    """One run: its processes, its samples, its verdict."""

    def __init__(self, folder: Path, hours: float, minutes: float, out: Path) -> None:
        self._folder, self._out = folder, out
        self._until_s = time.monotonic() + 60 * minutes
        self._began_s = time.monotonic()
        self._samples: list[dict[str, float]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._settings: dict[str, Any] = {
            "hours": hours, "sensors": SENSORS, "persons": 1, "seeds": 4, "endpoint": f"ipc://{folder}/node",
            "folder": str(folder), "result": str(folder / "node.json"), "address": str(folder / "address"),
            "started": str(folder / "started"),
        }  # fmt: skip
        self._path = folder / "settings.json"
        self._path.write_text(json.dumps(self._settings))

    def run(self) -> dict[str, Any]:
        """Until the simulated hours or the real minutes are over; returns the report."""
        try:
            self._watch()
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
        report = self._report(complete=True)
        report["node_exit"] = self._processes[-1].returncode
        report["log_leaks"] = _leaks((self._folder / "node.log").read_text())
        report["wrong"] = wrong(report)
        self._write(report)
        return report

    def _watch(self) -> None:
        with (self._folder / "node.log").open("wb") as log:
            clients = [self._start("soak_client.py", str(number)) for number in range(CLIENTS)]
            node = self._start("soak_node.py", stderr=log)
        asked, written_s = False, 0.0
        while node.poll() is None:
            time.sleep(SAMPLE_S)
            if (self._folder / "started").exists():
                self._sample(node.pid, clients[0].pid)
            if not asked and time.monotonic() > self._until_s:
                asked = True
                node.terminate()
            if time.monotonic() - written_s > REPORT_S:
                written_s = time.monotonic()
                self._write(self._report(complete=False))
        with suppress(subprocess.TimeoutExpired):  # the report says so
            clients[0].wait(PATIENCE_S)
            for client in clients[1:]:  # who was away when the node stopped does not hear of it
                client.terminate()
                client.wait(PATIENCE_S)

    def _start(self, script: str, *arguments: str, stderr: Any = None) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(HERE / script), str(self._path), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr, env=environment)
        self._processes.append(process)
        return process

    def _sample(self, node: int, witness: int) -> None:
        try:
            process = psutil.Process(node)
            with process.oneshot():
                sample = {
                    "s": time.monotonic() - self._began_s,
                    "rss_mb": process.memory_info().rss / 1e6,
                    "descriptors": process.num_fds(),
                    "threads": process.num_threads(),
                    "client_rss_mb": psutil.Process(witness).memory_info().rss / 1e6,
                }
            self._samples.append(sample)
            address = Path(self._settings["address"])
            if address.exists():
                urllib.request.urlopen(f"http://{address.read_text()}/metrics", timeout=5).close()
        except (psutil.Error, OSError):
            return  # it ends just now

    def _report(self, *, complete: bool) -> dict[str, Any]:
        files = sorted(self._folder.glob("client-*.json"))
        clients = [json.loads(path.read_text()) for path in files]
        result = Path(self._settings["result"])
        node = json.loads(result.read_text()) if result.exists() else None
        reached_s = node["simulated_s"] if node else max([client["uptime_s"] for client in clients], default=0.0)
        return {
            "complete": complete,
            "asked_hours": self._settings["hours"],
            "reached_hours": reached_s / 3600,
            "real_minutes": (time.monotonic() - self._began_s) / 60,
            "node": node,
            "clients": clients,
            "growth": growth(self._samples),
            "samples": self._samples[:: max(1, len(self._samples) // 60)],
        }

    def _write(self, report: dict[str, Any]) -> None:
        new = self._out.with_suffix(".new")
        new.write_text(json.dumps(report, indent=1))
        os.replace(new, self._out)


def growth(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of what the node's process holds: the greatest in the second and in the last quarter of the samples."""
    quarter = len(samples) // 4
    if quarter < LEAST_SAMPLES:
        return {}
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    return {
        name: {"early": max(one[name] for one in early), "late": max(one[name] for one in late)}
        for name in ("rss_mb", "descriptors", "threads", "client_rss_mb")
    }


def wrong(report: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    node, clients = report["node"], report["clients"]
    if report["node_exit"] != 0 or node is None:
        return [f"the node ended with code {report['node_exit']}"]
    found = [f"{leak} in the log" for leak in report["log_leaks"]]
    for number, client in enumerate(clients):
        counts = {name: client[name] for name in ("raw", "names", "unexplained", "lost", "malformed") if client[name]}
        if counts or not client["done"] or not client["frames"]:
            found.append(f"client {number}: {counts}, {client['frames']} frames, saw the end: {client['done']}")
    for name, stream in node["streams"].items():
        arrived = clients[0]["of_sensors"].get(name, 0)
        sums = {stream["delivered"], stream["frames_in"], stream["frames_out"] + stream["dropped"]}
        if len(sums) > 1 or arrived != stream["frames_out"]:
            found.append(f"{name}: {arrived} frames arrived, and the node counted {stream}")
    for name, most in MOST_GROWTH.items():
        change = report["growth"].get(name)
        if change is not None and change["late"] - change["early"] > most:
            found.append(f"{name} grew from {change['early']} to {change['late']}")
    return found


def _leaks(log: str) -> list[str]:
    from scripted_faults import SERIAL

    return [word for word in (SERIAL, "Traceback") if word in log]


def main() -> int:
    """Run, and print what came of it in a few lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help="simulated")
    parser.add_argument("--minutes", type=float, default=60.0, help="real, at most")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started is left behind
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = Soak(Path(folder), given.hours, given.minutes, given.out).run()
    sys.stdout.write(
        f"{report['reached_hours']:.3f} of {given.hours} simulated hours in {report['real_minutes']:.1f} min; "
        f"wrong: {report['wrong'] or 'nothing'}\n"
    )
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
