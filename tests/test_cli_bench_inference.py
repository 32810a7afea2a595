"""`skelanon bench-inference`: all figures are there, and the arithmetic by hand is that of the bundle."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.cli.bench import calls
from skelanon.cli.bench.minimum import minimum
from skelanon.cli.main import app
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.train.samples import random_samples


def test_template_by_hand_is_template() -> None:
    bundle = read_bundle(default_bundle_path())
    samples = random_samples(tracks=9, frames=2, bodies_per_sample=1)
    for joints in samples.joints:
        what, by_hand = minimum(bundle, joints)
        expected = OnnxRuntimeCpu(bundle).step(range(9), [True] * 9, joints, samples.present[0])
        np.testing.assert_allclose(by_hand(), expected, rtol=0, atol=1e-5)
        assert what == "numpy by hand"


def test_a_quick_run_gives_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "QUICK", calls.Effort(rounds=1, calls=3, paced_calls=1))
    out = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["bench-inference", "--quick", "--out", str(out)])
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(out.read_bytes(), type=dict[str, Any])
    assert Counter(row["part"] for row in report["figures"]) == {"flat out": 16, "30 Hz": 16, "targets": 6}
    found = {(row["part"], row["what"]): row["value"] for row in report["figures"]}
    call, by_hand = found["flat out", "session, 1"], found["flat out", "numpy by hand, 1"]
    assert found["targets", "session : numpy by hand, 1"] == pytest.approx(call / by_hand)
    assert found["targets", "session, throughput of 64 : 1"] == pytest.approx(
        64 * call / found["flat out", "session, 64"]
    )
    assert report["quick"] is True
