"""`skelanon bench --runners` and `--gpu`, on the CPU: every figure is there, and what is absent has its reason."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from skelanon.cli.bench import gpu
from skelanon.cli.bench.gathering import gather
from skelanon.cli.bench.gpu import FLOOR, Scale, measure_gpu
from skelanon.cli.bench.plan import candidates
from skelanon.cli.main import app
from skelanon.configs import check
from skelanon.configs.schema import ModelSettings
from skelanon.export import candidates as runners
from skelanon.export.availability import Availability
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.errors import RunnerError
from skelanon.export.runner import Runner

DOCS = (Path(__file__).resolve().parents[1] / "docs" / "runners.md").read_text("utf-8")
TINY = Scale(bodies=(1, 3), seconds=0.01, sensors=10, sensors_s=0.3)


def bench(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "skelanon.cli.main", "bench", "--quick", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_runners_are_compared_at_the_load_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("sensors: {hall: {kind: synthetic}}\nmodel: {threads: 2}\n")
    done = bench(
        tmp_path, "--runners", "--rate", "200", "--bodies", "5", "--out", "figures.json", "--config", "node.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert "`runner: auto` takes " in done.stdout
    for name in ("cuda", "ort_tensorrt", "tensorrt"):
        assert name in done.stdout  # a figure, or why there is none
    figures = json.loads((tmp_path / "figures.json").read_bytes())["figures"]
    found = {row["what"]: row for row in figures}
    assert {row["part"] for row in figures} == {"5 bodies at 200 Hz"}
    assert 0 < found["cpu"]["value"] <= found["cpu"]["p99"]


def test_both_at_once_are_refused(tmp_path: Path) -> None:
    done = bench(tmp_path, "--runners", "--gpu")
    assert done.returncode == 2
    assert "give one of --runners, --gpu and --load" in done.stderr


def test_the_gpu_bench_gives_every_figure_beside_its_floor() -> None:
    pytest.importorskip("onnx")
    notes: list[str] = []
    figures = measure_gpu(candidates(["default"]), ["cpu"], TINY, ModelSettings(), notes.append)
    parts: dict[str, dict[str, Any]] = {}
    for row in figures:
        parts.setdefault(row.part, {})[row.what] = row
    assert list(parts) == ["cpu, 1 bodies", "cpu, 3 bodies", "cpu, 10 sensors of 2 bodies at 30 Hz"]
    for bodies, part in zip(TINY.bodies, parts.values(), strict=False):
        assert set(part) == {"call", FLOOR, "throughput"}
        assert part["throughput"].value == pytest.approx(1e6 * bodies / part["call"].value)
        assert 0 < part["call"].value <= part["call"].p99
    crowd = parts["cpu, 10 sensors of 2 bodies at 30 Hz"]
    assert crowd["withheld or at fault"].value == 0
    assert 0 < crowd["added latency"].value <= crowd["added latency"].p99


def test_what_is_absent_or_fails_is_noted_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: Any, *_: Any) -> Runner:
        raise RunnerError(f"{name} is out of memory")

    monkeypatch.setattr(gpu, "available_runners", lambda: [
        Availability("cuda", True, "here"), Availability("tensorrt", False, "no driver")
    ])  # fmt: skip
    monkeypatch.setattr(gpu, "make_runner", make)
    notes: list[str] = []
    assert measure_gpu(candidates(["default"]), [], TINY, ModelSettings(), notes.append) == []
    assert notes == ["template on cuda", "cuda: cuda is out of memory", "tensorrt: no driver"]


def test_the_frames_of_many_sensors_are_counted_once(scripted_runner: Callable[..., Any]) -> None:
    runner = scripted_runner()
    found = gather(runner, sensors=12, bodies=2, rate_hz=50.0, seconds=0.4)
    assert found.lost == 0
    assert len(found.added_us) + found.dropped == pytest.approx(12 * 50 * 0.4, rel=0.5)
    assert found.rate_hz == pytest.approx(len(found.added_us) / 0.4)
    assert max(len(rows) for rows, *_ in runner.calls) > 2  # together in one call
    assert np.all(np.array(found.added_us) > 0)


def test_an_engine_is_built_with_the_bundle_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = pytest.importorskip("skelanon.train.build", reason="needs skelanon[train]")
    built: list[Any] = []

    def load(bundle: Any, buckets: list[int], cache: Path, *, tf32: bool) -> None:
        built.append((bundle.manifest.name, buckets, cache, tf32))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(build, "build_template", lambda *_, **__: read_bundle(default_bundle_path()))
    monkeypatch.setattr(runners, "load_engine", load)
    monkeypatch.setattr(runners, "engine_key", lambda *_, **__: None)
    monkeypatch.setattr(runners, "engine_path", lambda _, cache: cache / "x.engine")
    done = CliRunner().invoke(app, ["export", "--out", str(tmp_path / "made.onnx"), "--tensorrt"])
    assert done.exit_code == 0, done.output
    assert built == [("template", ModelSettings().buckets, tmp_path / "skelanon", False)]
    assert "x.engine: its engine" in done.output


def test_the_settings_in_the_docs_are_settings() -> None:
    snippets = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert snippets
    for snippet in snippets:
        settings = check({"sensors": {"hall": {"kind": "synthetic"}}, **yaml.safe_load(snippet)}, "docs/runners.md")
        assert settings.model.runner != "cpu"
    for name in ModelSettings.model_fields.keys() - {"bundle", "sha256"}:
        assert f"`{name}`" in DOCS
