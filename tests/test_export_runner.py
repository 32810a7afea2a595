"""Runners: state follows its row, in order of time, whatever the batch; a failed call changes nothing."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from skelanon.export.bundle import Bundle
from skelanon.export.errors import RunnerError
from skelanon.export.manifest import Manifest
from skelanon.export.runner import Floats, HostRunner


class Counting(HostRunner):
    """Its state counts frames; each body's first coordinate comes out as (state before, persona)."""

    settled_at = np.inf

    def __init__(self) -> None:
        manifest = Manifest(
            name="counting",
            anonymizer="test",
            bodies_per_sample=1,
            state_size=1,
            persona_size=1,
            axes="camera",
            root="model",
            parity_tolerance_m=1e-5,
        )
        super().__init__(Bundle(manifest, "0" * 64, b""))
        self.batches: list[int] = []
        self.broken = False

    def close(self) -> None:
        pass

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        self.batches.append(len(joints))
        if self.broken:
            raise RunnerError("broken")
        anonymous = joints.copy()
        anonymous[:, 0, 0, 0] = state[:, 0]
        anonymous[:, 0, 0, 1] = persona[:, 0]
        return anonymous, np.minimum(state + 1, self.settled_at).astype(np.float32)


class Latching(Counting):
    """Its state settles after the first frame, as that of a latched rotation."""

    settled_at = 1.0


def step(runner: HostRunner, rows: Sequence[int], fresh: Sequence[bool]) -> list[float]:
    """States before each frame, checking that frames keep their order."""
    joints = np.random.default_rng(0).standard_normal((len(rows), 1, 25, 3)).astype(np.float32)
    anonymous = runner.step(rows, fresh, joints, np.ones((len(rows), 1), np.float32))
    assert np.array_equal(anonymous[:, 0, 1:], joints[:, 0, 1:])
    states: list[float] = anonymous[:, 0, 0, 0].tolist()
    return states


@pytest.mark.parametrize(("kind", "top"), [(Counting, np.inf), (Latching, 1.0)])
def test_a_batch_of_frames_equals_frame_by_frame(kind: type[Counting], top: float) -> None:
    random = np.random.default_rng(1)
    runner = kind()
    expected: dict[int, float] = {}
    for _ in range(50):
        rows = random.integers(0, 4, random.integers(1, 20)).tolist()
        fresh = [row not in expected or random.random() < 0.2 for row in rows]
        for number, row in enumerate(rows):  # the first frame of a row must be fresh
            fresh[number] |= row not in expected and row not in rows[:number]
        wanted = []
        for row, new in zip(rows, fresh, strict=True):
            expected[row] = 0.0 if new else expected[row]
            wanted.append(expected[row])
            expected[row] = min(expected[row] + 1, top)
        assert step(runner, rows, fresh) == wanted


def test_once_settled_the_frames_of_a_row_go_together() -> None:
    runner = Latching()
    step(runner, [0] * 64, [True] + [False] * 63)
    assert runner.batches == [1, 63]


def test_a_model_with_a_memory_is_tried_only_once() -> None:
    runner = Counting()
    step(runner, [0] * 5, [True] + [False] * 4)
    runner.batches.clear()
    assert step(runner, [0] * 5, [False] * 5) == [5, 6, 7, 8, 9]
    assert runner.batches == [1] * 5


def test_a_failed_call_changes_no_state() -> None:
    runner = Counting()
    assert step(runner, [0, 1], [True, True]) == [0, 0]
    runner.broken = True
    with pytest.raises(RunnerError, match="broken"):
        step(runner, [1, 0, 0], [True, False, False])
    runner.broken = False
    assert step(runner, [0, 1], [False, False]) == [1, 1]


def test_each_track_has_a_persona_of_its_own_and_keeps_it() -> None:
    runner = Counting()
    joints, present = np.zeros((2, 1, 25, 3), np.float32), np.ones((2, 1), np.float32)
    first = runner.step([0, 1], [True, True], joints, present)[:, 0, 0, 1]
    again = runner.step([0, 1], [False, True], joints, present)[:, 0, 0, 1]
    assert first[0] == again[0] != first[1] != again[1]


def test_onnxruntime_never_reports_to_its_maker(tmp_path: Path) -> None:
    """Its telemetry leaves a database in the folder for temporary files, and reads a variable before it starts."""
    code = (
        "import os; from skelanon.export.bundle import default_bundle_path, read_bundle;"
        "from skelanon.export.ort_cpu import OnnxRuntimeCpu;"
        "OnnxRuntimeCpu(read_bundle(default_bundle_path()));"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert list(tmp_path.iterdir()) == []
