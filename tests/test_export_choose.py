"""Which runner a node gets: what its settings name, the measured best, or what they allow instead."""

import json
import logging
import math
import re
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelanon.configs import ConfigError, check
from skelanon.configs.schema import ModelSettings, RunnerName
from skelanon.export import availability, candidates, choose, create
from skelanon.export.availability import Availability, available_runners
from skelanon.export.bundle import Bundle, default_bundle_path, read_bundle
from skelanon.export.cache import cache_folder
from skelanon.export.choose import choose_runner
from skelanon.export.create import create_runner
from skelanon.export.errors import BundleError, RunnerError
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.recovery import RecoveringRunner
from skelanon.export.runner import Floats, Runner
from skelanon.export.timing import FEWEST_CALLS, UNCOUNTED_CALLS, Load, Timing, check_against, measure
from skelanon.stream.node import create_node

BUNDLE = read_bundle(default_bundle_path())
LOAD = Load(30.0, 2)


class Clock:
    """Time that passes only by sleeping and by calls of a `Slow` runner."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Slow(OnnxRuntimeCpu):
    """The real model; each call takes as long as it says."""

    def __init__(self, clock: Clock, *durations_s: float) -> None:
        super().__init__(BUNDLE)
        self.clock = clock
        self.durations_s = durations_s
        self.calls = 0

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        self.clock.now_s += self.durations_s[self.calls % len(self.durations_s)]
        self.calls += 1
        return super().step(rows, fresh, joints, present)


class Wrong(OnnxRuntimeCpu):
    """A GPU that computes nonsense: a millimetre off, or no number."""

    off: float = 0.001

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        return super().step(rows, fresh, joints, present) + np.float32(self.off)


class Machine:
    """Which runners are at hand, and how long each takes; remembers which were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.p99_us: dict[str, float | Exception] = {"cpu": 300.0, "cuda": 200.0}
        self.absent = {"ort_tensorrt": "no library", "tensorrt": "not installed"}
        self.runner: type[OnnxRuntimeCpu] = OnnxRuntimeCpu
        self.made: list[str] = []
        monkeypatch.setattr(choose, "available_runners", self.available)
        monkeypatch.setattr(choose, "measure", self.measure)
        monkeypatch.setattr(create, "make_runner", self.make)
        monkeypatch.setattr(choose, "gpu_name", lambda: "GPU of the test")

    def available(self) -> list[Availability]:
        names: Any = [*self.p99_us, *(name for name in self.absent if name not in self.p99_us)]
        return [Availability(name, name in self.p99_us, self.absent.get(name, "here")) for name in names]

    def make(self, name: RunnerName, bundle: Bundle, settings: ModelSettings) -> OnnxRuntimeCpu:
        self.made.append(name)
        found = self.p99_us.get(name, RunnerError(self.absent.get(name, "")))
        if isinstance(found, Exception):
            raise found
        return OnnxRuntimeCpu(bundle) if name == "cpu" else self.runner(bundle)

    def measure(self, runner: Runner, load: Load, budget_s: float) -> Timing:
        found: Any = self.p99_us[self.made[-1]]
        return Timing(found / 2, found)

    def choose(self, settings: ModelSettings, load: Load = LOAD) -> RunnerName:
        return choose_runner(BUNDLE, settings, load, self.make)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def auto(tmp_path: Path) -> ModelSettings:
    return ModelSettings(runner="auto", cache=str(tmp_path / "cache"))


def test_auto_takes_the_best_p99_and_says_why(
    machine: Machine, auto: ModelSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert machine.choose(auto) == "cuda"
    assert "cuda, by its p99 of a call of 2 samples: cpu 300 us, cuda 200 us" in caplog.text
    machine.p99_us["cuda"] = 400.0
    assert machine.choose(auto, Load(30.0, 3)) == "cpu"


def test_auto_remembers_for_the_same_machine_model_and_load(machine: Machine, auto: ModelSettings) -> None:
    machine.choose(auto)
    machine.made.clear()
    assert machine.choose(auto) == "cuda"
    assert machine.made == []
    machine.choose(auto, Load(30.0, 64))
    assert machine.made == ["cpu", "cuda"]
    machine.made.clear()
    machine.choose(auto.model_copy(update={"threads": 2}))
    assert machine.made == ["cpu", "cuda"]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b'{"a": {"runner": "quantum", "p99_us": {}}}', b'{"a": 1}']
)
def test_a_damaged_cache_is_measured_anew(
    machine: Machine, auto: ModelSettings, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = cache_folder(auto.cache) / "runners.json"
    path.write_bytes(content)
    assert machine.choose(auto) == "cuda"
    assert "runners.json is damaged: measuring anew" in caplog.text
    machine.made.clear()
    assert machine.choose(auto) == "cuda"
    assert machine.made == []
    assert len(json.loads(path.read_bytes())) == 1


def test_the_cache_does_not_grow_without_end(machine: Machine, auto: ModelSettings) -> None:
    for samples in range(1, 40):
        machine.choose(auto, Load(30.0, samples))
    assert len(json.loads((cache_folder(auto.cache) / "runners.json").read_bytes())) == choose.REMEMBERED


def test_auto_leaves_out_what_fails(machine: Machine, auto: ModelSettings, caplog: pytest.LogCaptureFixture) -> None:
    machine.p99_us["cuda"] = RunnerError("out of memory")
    assert machine.choose(auto) == "cpu"
    assert "cuda is left out: out of memory" in caplog.text


def test_auto_measures_nothing_where_there_is_but_one(machine: Machine, auto: ModelSettings) -> None:
    del machine.p99_us["cuda"]
    assert machine.choose(auto) == "cpu"
    assert machine.made == []


def test_auto_says_why_nothing_works(machine: Machine, auto: ModelSettings) -> None:
    machine.p99_us = {"cpu": RunnerError("not installed"), "cuda": BundleError("strange graph")}
    with pytest.raises(RunnerError, match="no runner works here: cpu: not installed; cuda: strange graph"):
        machine.choose(auto)


def test_auto_waits_for_no_engine(machine: Machine, auto: ModelSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.p99_us["tensorrt"] = 1.0
    monkeypatch.setattr(candidates, "engine_key", lambda *_, **__: None)
    monkeypatch.setattr(candidates, "engine_path", lambda _, cache: cache / "x.engine")
    assert machine.choose(auto) == "cuda"
    (cache_folder(auto.cache) / "x.engine").write_bytes(b"")
    assert machine.choose(auto) == "tensorrt"  # a candidate more: what was measured without it does not count


def test_a_runner_that_cannot_start_is_an_error_that_names_the_way_out(machine: Machine) -> None:
    settings = ModelSettings(runner="tensorrt")
    message = "`model.runner` is tensorrt: not installed; or allow another with `model.fallback`"
    with pytest.raises(RunnerError, match=re.escape(message)):
        create_runner(BUNDLE, settings, LOAD)


def test_a_fallback_takes_over_at_the_start(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    runner = create_runner(BUNDLE, ModelSettings(runner="tensorrt", fallback="cuda"), LOAD)
    assert isinstance(runner, RecoveringRunner)
    runner.close()
    assert machine.made == ["tensorrt", "cuda"]
    assert "`model.runner` is tensorrt: not installed; `model.fallback` takes over: cuda" in caplog.text


def test_a_node_runs_on_its_fallback(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    del machine.p99_us["cuda"]
    machine.absent["cuda"] = "no NVIDIA driver"
    sensors = {"a": {"kind": "synthetic", "fast": True, "frames": 50}}
    tree = {"sensors": sensors, "model": {"runner": "cuda", "fallback": "cpu"}}
    with create_node(check({**tree, "publish": {"endpoint": "tcp://127.0.0.1:*"}}, "test")) as node:
        node.run()
    assert (node.counters[0].frames_out, node.counters[0].faults) == (50, 0)
    assert "`model.runner` is cuda: no NVIDIA driver; `model.fallback` takes over: cpu" in caplog.text


@pytest.mark.parametrize("off", [0.001, np.nan])
def test_a_gpu_that_computes_something_else_is_refused(machine: Machine, off: float) -> None:
    closed: list[Runner] = []

    class Off(Wrong):
        def close(self) -> None:
            closed.append(self)

    Off.off = off
    machine.runner = Off
    with pytest.raises(RunnerError, match=r"computes something else than the CPU: (0\.001|inf) apart, 4e-05 is"):
        create_runner(BUNDLE, ModelSettings(runner="cuda"), LOAD)
    assert len(closed) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cuda", "ort_tensorrt", "tensorrt"])
def test_a_runner_that_is_at_hand_agrees_with_the_cpu(name: RunnerName, tmp_path: Path) -> None:
    found = {one.name: one for one in available_runners()}[name]
    if not found.usable:
        pytest.skip(found.reason)
    create_runner(BUNDLE, ModelSettings(runner=name, buckets=[1, 4], cache=str(tmp_path)), LOAD).close()


def test_tf32_may_differ_by_millimetres() -> None:
    check_against(Wrong(BUNDLE), OnnxRuntimeCpu(BUNDLE), BUNDLE, tf32=True)


def test_a_call_is_measured_at_the_pace_of_the_node() -> None:
    clock = Clock()
    runner = Slow(clock, 0.001)
    timing = measure(runner, Load(10.0, 4), 3.0, clock=clock, sleep=clock.sleep)
    assert runner.calls == UNCOUNTED_CALLS + 30
    assert timing == Timing(1000.0, 1000.0)
    assert max(clock.slept) == pytest.approx(0.099)


def test_the_first_calls_do_not_count_and_the_slowest_do() -> None:
    clock = Clock()
    runner = Slow(clock, *[0.5] * UNCOUNTED_CALLS, *[0.001] * 29, 0.1)
    timing = measure(runner, Load(30.0, 1), 1.0, clock=clock, sleep=clock.sleep)
    assert timing.p50_us == pytest.approx(1000.0)
    assert 50_000 < timing.p99_us < 100_000


@pytest.mark.parametrize("calls_hz", [math.inf, 100_000.0, 0.5])
def test_a_measurement_ends_in_time(calls_hz: float) -> None:
    clock = Clock()
    runner = Slow(clock, 0.01)
    measure(runner, Load(calls_hz, 1), 1.0, clock=clock, sleep=clock.sleep)
    assert runner.calls >= FEWEST_CALLS
    assert clock.now_s < max(2.5, (FEWEST_CALLS + UNCOUNTED_CALLS) / calls_hz)


def test_every_runner_comes_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise RuntimeError("private words")

    monkeypatch.setitem(availability._CHECKS, "tensorrt", fail)
    found = {one.name: one for one in available_runners()}
    assert list(found) == ["cpu", "cuda", "ort_tensorrt", "tensorrt"]
    assert found["cpu"].usable
    assert re.fullmatch(r"onnxruntime \d+\.\d+.*", found["cpu"].reason)
    assert (found["tensorrt"].usable, found["tensorrt"].reason) == (False, "its check failed (RuntimeError)")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"runner": "gpu"}, "`model.runner` is 'gpu'"),
        ({"fallback": "auto"}, "`model.fallback` is 'auto'"),
        ({"runner": "cuda", "fallback": "cuda"}, "it must be another runner than `model.runner`"),
        ({"buckets": []}, "`model.buckets`"),
        ({"buckets": [4, 1]}, "batch sizes must ascend, each named once"),
        ({"buckets": [0]}, "`model.buckets.0` is 0"),
        ({"precision": "half"}, "`model.precision` is 'half'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check({"sensors": {"hall": {"kind": "synthetic"}}, "model": model}, "test")


@pytest.mark.parametrize(
    ("sensors", "load"),
    [
        ({"a": {"kind": "synthetic", "persons": 3}}, Load(30.0, 3)),
        ({"a": {"kind": "synthetic"}, "b": {"kind": "synthetic", "rate_hz": 15.0}}, Load(60.0, 2)),
        ({f"s{number}": {"kind": "synthetic", "persons": 1} for number in range(9)}, Load(30.0, 9)),
        ({"a": {"kind": "synthetic", "fast": True, "persons": 0}}, Load(math.inf, 1)),
    ],
)
def test_the_load_is_that_of_the_sensors(
    sensors: dict[str, Any], load: Load, monkeypatch: pytest.MonkeyPatch, scripted_runner: Callable[..., Runner]
) -> None:
    asked: list[Load] = []

    def create(bundle: Bundle, settings: ModelSettings, load: Load) -> Runner:
        asked.append(load)
        return scripted_runner()

    monkeypatch.setattr("skelanon.stream.node.create_runner", create)
    settings = check({"sensors": sensors, "publish": {"endpoint": "tcp://127.0.0.1:*"}}, "test")
    create_node(settings).close()
    assert asked == [load]


def test_the_cache_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    folder = cache_folder(None)
    assert folder == tmp_path / "skelanon"
    assert sys.platform == "win32" or stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunnerError, match=r"`model\.cache`: cannot make the folder"):
        cache_folder(str(tmp_path / "file" / "below"))
