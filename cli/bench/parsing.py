"""How fast a `.skeleton` recording is read, beside a plain dict parser."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from skelanon.cli.dict_parser import dict_parser
from skelanon.sensors.ntu import read_skeleton
from skelanon.sensors.skeleton_writer import write_demo_recording

from .figures import Figure
from .plan import Plan
from .workplace import Workplace

LEAST_RATIO = 3.0
RECORDING_S = 4.0
_COLUMNS = 12


def measure_parsing(plan: Plan, skeleton: Path | None, work: Workplace, note: Callable[[str], None]) -> list[Figure]:
    """Both read the same file in turns."""
    note("reading a recording")
    path = skeleton or made_up_recording(work.new_file(".skeleton"))
    turns = [(_milliseconds(read_skeleton, path), _milliseconds(dict_parser, path)) for _ in range(plan.parses)]
    ours, plain = (median(times) for times in zip(*turns, strict=True))
    part = f"reading {path.stat().st_size / 1e6:.2f} MB"
    return [
        Figure(part=part, what="skelanon", value=ours, unit="ms"),
        Figure(part=part, what="plain dict parser", value=plain, unit="ms"),
        Figure(part=part, what="times as fast", value=plain / ours, unit="times", at_least=LEAST_RATIO),
    ]


def made_up_recording(path: Path) -> Path:
    """A recording whose every column holds numbers as long as a sensor's, those that nobody reads included."""
    write_demo_recording(path, RECORDING_S, persons=1)
    random = np.random.default_rng(0)
    lines = [line.split() for line in path.read_text("ascii").splitlines()]
    for fields in lines:
        if len(fields) == _COLUMNS:
            fields[3:11] = [f"{value:.7g}" for value in random.uniform(-1.0, 1.0, 8) * (300, 300, 900, 900, 1, 1, 1, 1)]
    path.write_text("\n".join(" ".join(fields) for fields in lines) + "\n", "ascii")
    return path


def _milliseconds(parse: Callable[[Path], object], path: Path) -> float:
    started_ns = time.perf_counter_ns()
    parse(path)
    return (time.perf_counter_ns() - started_ns) / 1e6
