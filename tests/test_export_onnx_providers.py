"""ONNX Runtime on a GPU, with a stand-in that takes the CPU instead: asked for in the right way, or an error."""

import ctypes
import logging
import os
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skelanon.export import availability, gpu, onnx_provider, ort_tensorrt
from skelanon.export.availability import available_runners
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.device_runner import DeviceRunner
from skelanon.export.errors import RunnerError
from skelanon.export.onnx_provider import CUDA, TENSORRT, load_provider
from skelanon.export.onnx_runtime import import_onnxruntime
from skelanon.export.ort_cuda import onnx_runtime_cuda
from skelanon.export.ort_tensorrt import onnx_runtime_tensorrt

BUNDLE = read_bundle(default_bundle_path())
BUCKETS = (1, 4)


class Session:
    """A session that says it runs where it was asked to, and computes on the CPU."""

    def __init__(self, runtime: "Runtime", model: bytes, options: Any, providers: list[Any], enable_fallback: int):
        assert enable_fallback == 0  # else onnxruntime prints, and goes on without the GPU
        runtime.sessions.append(self)
        self.runtime = runtime
        self.providers = providers
        self.graph_ids: list[str] = []
        self.options = dict(providers[0][1])
        if runtime.refuses_graphs and self.options.get("enable_cuda_graph") == "1":
            raise RuntimeError("not all compute graph nodes have been partitioned to the CUDA EP")
        folder = Path(self.options.get("trt_engine_cache_path", runtime.folder))
        if any(path.read_bytes() == b"damaged" for path in folder.glob("*.engine")):
            raise RuntimeError("could not deserialize the engine")
        if "trt_engine_cache_path" in self.options:
            (folder / "of_the_test.engine").write_bytes(b"good")
        self.real = runtime.real.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        names = [name for name, _ in self.providers if name not in self.runtime.lost]
        return [*names, "CPUExecutionProvider"]

    def io_binding(self) -> Any:
        return self.real.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        try:
            self.graph_ids.append(options.get_run_config_entry("gpu_graph_id"))
        except RuntimeError:
            self.graph_ids.append("none")
        self.real.run_with_iobinding(binding)


class Runtime:
    """onnxruntime as it is where there is a GPU, so far as it is asked here."""

    def __init__(self, folder: Path) -> None:
        self.real = import_onnxruntime()
        self.folder = folder
        (folder / "capi").mkdir()
        self.__file__ = str(folder / "__init__.py")
        self.__version__ = "9.9"
        self.SessionOptions, self.RunOptions = self.real.SessionOptions, self.real.RunOptions
        self.OrtValue = SimpleNamespace(ortvalue_from_numpy=self.allocate)
        self.sessions: list[Session] = []
        self.lost: set[str] = set()
        self.refuses_graphs = False
        self.built_with = [TENSORRT, CUDA, "CPUExecutionProvider"]
        self.preloaded = 0

    def InferenceSession(self, *arguments: Any, **options: Any) -> Session:  # noqa: N802
        return Session(self, *arguments, **options)

    def allocate(self, values: Any, memory: str, device: int) -> Any:
        assert (memory, device) == ("cuda", 0)
        return self.real.OrtValue.ortvalue_from_numpy(values)

    def get_available_providers(self) -> list[str]:
        return self.built_with

    def preload_dlls(self, *, directory: str) -> None:
        self.preloaded += 1


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    found = Runtime(tmp_path)
    for module in (onnx_provider, availability):
        monkeypatch.setattr(module, "import_onnxruntime", lambda: found)
    for module in (onnx_provider, availability, ort_tensorrt):
        monkeypatch.setattr(module, "gpu_name", lambda: "GPU of the test")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    return found


def run(runner: DeviceRunner, samples: int) -> None:
    joints = np.random.default_rng(0).standard_normal((samples, 1, 25, 3)).astype(np.float32)
    assert runner.step(range(samples), [True] * samples, joints, np.ones((samples, 1), np.float32)).any()


def test_cuda_is_asked_for_with_graphs_and_full_precision(runtime: Runtime) -> None:
    runner = onnx_runtime_cuda(BUNDLE, BUCKETS)
    (session,) = runtime.sessions
    assert [name for name, _ in session.providers] == [CUDA]
    assert session.options["enable_cuda_graph"] == "1"
    assert session.options["use_tf32"] == "0"
    assert session.options["arena_extend_strategy"] == "kSameAsRequested"
    assert runtime.preloaded == 1
    run(runner, 3)
    assert set(session.graph_ids) == {"1", "2"}  # one for each batch size, and always the same
    assert session.graph_ids[-1] == "2"


def test_tf32_only_where_it_is_asked_for(runtime: Runtime) -> None:
    onnx_runtime_cuda(BUNDLE, BUCKETS, tf32=True)
    assert runtime.sessions[0].options["use_tf32"] == "1"


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_silent_fall_back_to_the_cpu_is_an_error(runtime: Runtime, provider: str, tmp_path: Path) -> None:
    runtime.lost = {CUDA, TENSORRT}
    message = (
        f"onnxruntime was asked for {provider} and took CPUExecutionProvider: its library loads and the driver shows "
        "GPU of the test; is the driver too old for this CUDA?"
    )
    make = onnx_runtime_cuda if provider == CUDA else partial(onnx_runtime_tensorrt, cache=tmp_path)
    with pytest.raises(RunnerError, match=re.escape(message)):
        make(BUNDLE, BUCKETS)
    assert len(runtime.sessions) == 1


def test_tensorrt_that_falls_back_to_cuda_is_an_error_too(runtime: Runtime, tmp_path: Path) -> None:
    runtime.lost = {TENSORRT}
    with pytest.raises(RunnerError, match=f"asked for {TENSORRT} and took {CUDA}"):
        onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path)


@pytest.mark.skipif("sys.platform != 'linux'")
def test_a_missing_library_is_named_in_the_loaders_words(runtime: Runtime) -> None:
    (runtime.folder / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"\x7fELF")
    with pytest.raises(RunnerError, match=rf"^{CUDA} cannot be loaded, libonnxruntime_providers_cuda\.so: file too sh"):
        load_provider(CUDA)
    assert load_provider(TENSORRT) is runtime
    found = {one.name: one for one in available_runners()}
    assert not found["cuda"].usable
    assert "file too short" in found["cuda"].reason
    assert str(runtime.folder) not in found["cuda"].reason
    assert found["ort_tensorrt"].usable
    assert found["ort_tensorrt"].reason == "onnxruntime 9.9 on GPU of the test"


def test_a_build_without_the_provider_says_what_to_install(runtime: Runtime) -> None:
    runtime.built_with = ["CPUExecutionProvider"]
    message = f"built without {CUDA}: pip uninstall onnxruntime, pip install 'skelanon[gpu]'"
    with pytest.raises(RunnerError, match=re.escape(message)):
        onnx_runtime_cuda(BUNDLE, BUCKETS)


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(library: str) -> None:
        raise OSError(library)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(RunnerError, match="no NVIDIA driver"):
        gpu.gpu_name.__wrapped__()


@pytest.mark.parametrize(("codes", "message"), [((0, 0), "shows no GPU"), ((100, 0), "cuInit returned 100")])
def test_a_driver_without_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int], message: str) -> None:
    driver = SimpleNamespace(cuInit=lambda _: codes[0], cuDeviceGetCount=lambda _: codes[1])
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    with pytest.raises(RunnerError, match=message):
        gpu.gpu_name.__wrapped__()


def test_where_graphs_are_refused_it_goes_without(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    runtime.refuses_graphs = True
    run(onnx_runtime_cuda(BUNDLE, BUCKETS), 2)
    _refused, taken = runtime.sessions
    assert taken.options["enable_cuda_graph"] == "0"
    assert set(taken.graph_ids) == {"none"}
    assert "no CUDA graphs for this model" in caplog.text


def test_the_tensorrt_provider_gets_shapes_and_a_cache(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path), 2)
    (session,) = runtime.sessions
    assert [name for name, _ in session.providers] == [TENSORRT, CUDA]
    assert session.options["trt_profile_min_shapes"] == "joints:1x1x25x3"
    assert session.options["trt_profile_max_shapes"] == "joints:4x1x25x3"
    assert session.options["trt_engine_cache_enable"] == session.options["trt_timing_cache_enable"] == "1"
    assert "this takes seconds to minutes" in caplog.text
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    caplog.clear()
    onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path)
    assert caplog.text == ""
    assert runtime.sessions[1].options["trt_engine_cache_path"] == session.options["trt_engine_cache_path"]


def test_engines_of_another_version_are_not_looked_at(runtime: Runtime, tmp_path: Path) -> None:
    onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path)
    runtime.__version__ = "10.0"
    onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path)
    first, second = (session.options["trt_engine_cache_path"] for session in runtime.sessions)
    assert first != second


def test_a_damaged_engine_of_the_provider_is_built_anew(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path)
    folder = Path(runtime.sessions[0].options["trt_engine_cache_path"])
    (folder / "of_the_test.engine").write_bytes(b"damaged")
    run(onnx_runtime_tensorrt(BUNDLE, BUCKETS, tmp_path), 1)
    assert "the cached TensorRT engine is refused" in caplog.text
    assert (folder / "of_the_test.engine").read_bytes() == b"good"
