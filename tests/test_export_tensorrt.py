"""TensorRT's own runner against a stand-in for its documented API, which computes what it is given on the CPU.

It refuses what the documentation says TensorRT refuses. It has not been compared with the real library.
"""

import ctypes
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skelanon.export import tensorrt_device, tensorrt_engine
from skelanon.export.bundle import Bundle, default_bundle_path, read_bundle
from skelanon.export.device_runner import DeviceRunner
from skelanon.export.errors import RunnerError
from skelanon.export.manifest import Manifest
from skelanon.export.onnx_runtime import import_onnxruntime
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.runner import RowRunner
from skelanon.export.tensorrt_device import tensorrt_runner
from skelanon.export.tensorrt_engine import engine_key, engine_path

BUNDLE = read_bundle(default_bundle_path())
BUCKETS = (1, 4)
Ranges = dict[str, Sequence[Sequence[int]]]


class Cuda(ModuleType):
    """cuda.bindings.runtime: the device's memory is some memory of the host; each call returns (error, ...)."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down")  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: dict[int, Any] = {}
        self.fails: dict[str, int] = {}
        self.streams = 0

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return self.fails.get("cudaMalloc", 0), ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.memory[address]
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        self.streams += 1
        return 0, 77

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.streams -= 1
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        assert stream == 77
        return (self.fails.get("cudaStreamSynchronize", 0),)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: str, stream: int) -> tuple[int]:  # noqa: N802
        assert stream == 77
        buffer = self.memory[target if kind == "up" else source]
        assert size <= len(buffer)
        ctypes.memmove(target, source, size)
        return (0,)


class Context:
    """Of an engine; runs its model on the memory that it is told."""

    def __init__(self, library: "TensorRT", model: bytes, ranges: Ranges) -> None:
        self.library = library
        self.ranges = ranges
        self.session = import_onnxruntime().InferenceSession(model, providers=["CPUExecutionProvider"])
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        least, _, most = self.ranges[name]
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address in self.library.cuda.memory

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == 77
        if self.library.refuses_calls:
            return False
        feed = {name: self.values(name, shape) for name, shape in self.shapes.items()}
        names = [output.name for output in self.session.get_outputs()]
        assert self.addresses.keys() == {*feed, *names}
        for name, result in zip(names, self.session.run(names, feed), strict=True):
            assert self.addresses[name] not in [self.addresses[given] for given in feed]  # no promise about overlaps
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(result).ctypes.data, result.nbytes)
        return True

    def values(self, name: str, shape: tuple[int, ...]) -> Any:
        dtype: Any = np.int64 if name == "resident_places" else np.float32
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(ctypes.string_at(self.addresses[name], size), dtype).reshape(shape)


class TensorRT(ModuleType):
    """The module `tensorrt`, its builder, its parser and its runtime, in one object."""

    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    BuilderFlag = SimpleNamespace(TF32="tf32")  # 11.x has no FP16
    Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, severity: None})

    def __init__(self, cuda: Cuda, version: str = "11.4.1") -> None:
        super().__init__("tensorrt")
        self.cuda = cuda
        self.__version__ = version
        self.builds = 0
        self.config: dict[str, Any] = {}
        self.refuses_calls = self.refuses_models = self.refuses_engines = False
        self.memory_is_full = False

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(flags=flags, model=b""),
            create_builder_config=self.new_config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self.set_shape),
            build_serialized_network=self.build,
        )

    def new_config(self) -> Any:
        self.config = {"flags": {"tf32"}, "profile": {}, "timings": None}
        return SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: self.config.update({pool: size}),
            clear_flag=self.config["flags"].discard,
            add_optimization_profile=lambda profile: 0,
            create_timing_cache=self.new_timings,
            set_timing_cache=self.set_timings,
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: memoryview(self.timings_now())),
        )

    def timings_now(self) -> bytes:
        return f"timings of {self.__version__}".encode()

    def new_timings(self, known: bytes) -> bytes | None:
        return None if known == b"damaged" else known

    def set_timings(self, timings: bytes, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timings not in (b"", self.timings_now()):
            return False
        self.config["timings"] = timings
        return True

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        self.config["profile"][name] = [least, usual, most]

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        def parse(model: bytes) -> bool:
            network.model = model
            return not self.refuses_models

        return SimpleNamespace(parse=parse, get_error=lambda _: SimpleNamespace(desc=lambda: "no such operator"))

    def build(self, network: Any, config: Any) -> memoryview | None:
        assert network.flags == 1 << 1  # strongly typed
        self.builds += 1
        about = {"version": self.__version__, "profile": self.config["profile"], "model": network.model.hex()}
        return None if self.memory_is_full else memoryview(json.dumps(about).encode())

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan: bytes) -> Any:
        about = json.loads(plan)
        if about["version"] != self.__version__ or self.refuses_engines:
            return None
        context = Context(self, bytes.fromhex(about["model"]), about["profile"])
        return SimpleNamespace(create_execution_context=lambda: None if self.memory_is_full else context)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> TensorRT:
    cuda = Cuda()
    found = TensorRT(cuda)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda  # type: ignore[attr-defined]
    modules = {"tensorrt": found, "cuda": ModuleType("cuda"), "cuda.bindings": bindings, "cuda.bindings.runtime": cuda}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for ours in (tensorrt_device, tensorrt_engine):
        monkeypatch.setattr(ours, "gpu_name", lambda: "GPU of the test")
    return found


def running_mean() -> Bundle:
    """A model with a state: what comes out is the mean of a body's joints and what came out before."""
    onnx = pytest.importorskip("onnx", reason="needs skelanon[tensorrt] or skelanon[train]")
    helper, types = onnx.helper, onnx.TensorProto
    manifest = Manifest(
        name="mean", anonymizer="test", bodies_per_sample=1, state_size=75, axes="camera", root="model",
        parity_tolerance_m=1e-5,
    )  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["joints", "flat"], ["now"]),
        helper.make_node("Mean", ["now", "state"], ["next_state"]),
        helper.make_node("Reshape", ["next_state", "wide"], ["anonymous"]),
    ]
    constants = [
        helper.make_tensor("flat", types.INT64, [2], [-1, 75]),
        helper.make_tensor("wide", types.INT64, [4], [-1, 1, 25, 3]),
    ]
    values = [
        [helper.make_tensor_value_info(name, types.FLOAT, ["N", *shape]) for name, shape in named.items()]
        for named in (manifest.inputs, manifest.outputs)
    ]
    graph = helper.make_graph(nodes, "mean", *values, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Bundle(manifest, "1" * 64, model.SerializeToString())


def step(runner: RowRunner, rows: list[int], fresh: bool, seed: int) -> Any:
    joints = np.random.default_rng(seed).standard_normal((len(rows), 1, 25, 3)).astype(np.float32)
    return runner.step(rows, [fresh] * len(rows), joints, np.ones((len(rows), 1), np.float32))


def rebuilt(library: TensorRT, tmp_path: Path, bundle: Bundle = BUNDLE) -> DeviceRunner:
    """A runner of an engine that was built just now."""
    before = library.builds
    runner = tensorrt_runner(bundle, BUCKETS, tmp_path)
    assert library.builds == before + 1
    return runner


@pytest.mark.parametrize("version", ["10.0.1", "10.14.1", "11.4.1"])
def test_it_gives_what_onnx_runtime_gives(library: TensorRT, tmp_path: Path, version: str) -> None:
    library.__version__ = version
    bundle = running_mean()
    ours, theirs = tensorrt_runner(bundle, BUCKETS, tmp_path), OnnxRuntimeCpu(bundle)
    for seed, rows in enumerate([[0, 1, 2, 3, 4, 5], [2], [5, 1, 2], [0, 0, 0, 4], [7, 8]]):
        fresh = seed in (0, 4)
        np.testing.assert_allclose(step(ours, rows, fresh, seed), step(theirs, rows, fresh, seed), atol=1e-6)


def test_an_engine_is_built_once(library: TensorRT, tmp_path: Path) -> None:
    rebuilt(library, tmp_path)
    tensorrt_runner(BUNDLE, BUCKETS, tmp_path)
    assert library.builds == 1
    assert library.config["profile"] == {"joints": [(1, 1, 25, 3), (4, 1, 25, 3), (4, 1, 25, 3)]}
    assert library.config["flags"] == set()  # no TF32
    assert library.config["workspace"] == 1 << 30


def test_what_was_timed_is_reused(library: TensorRT, tmp_path: Path) -> None:
    rebuilt(library, tmp_path)
    assert library.config["timings"] == b""
    rebuilt(library, tmp_path, running_mean())
    assert library.config["timings"] == library.timings_now()


@pytest.mark.parametrize("content", [b"damaged", b"timings of 9.0"])
def test_timings_that_do_not_fit_are_replaced(library: TensorRT, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tensorrt.timings").write_bytes(content)
    rebuilt(library, tmp_path)
    assert library.config["timings"] == b""
    assert (tmp_path / "tensorrt.timings").read_bytes() == library.timings_now()


def test_an_engine_of_another_version_is_built_anew_and_said(
    library: TensorRT, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library.__version__ = "10.9.0"
    rebuilt(library, tmp_path)
    library.__version__ = "11.4.1"
    step(rebuilt(library, tmp_path), [0], True, 0)
    assert "the cached engine was built for tensorrt 10.9.0, this is 11.4.1: building it anew" in caplog.text
    assert len(list(tmp_path.glob("*.engine"))) == 1


def test_each_gpu_model_and_precision_has_its_engine(
    library: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilt(library, tmp_path)
    rebuilt(library, tmp_path, running_mean())
    tensorrt_runner(BUNDLE, BUCKETS, tmp_path, tf32=True)
    assert library.config["flags"] == {"tf32"}
    monkeypatch.setattr(tensorrt_engine, "gpu_name", lambda: "another GPU")
    rebuilt(library, tmp_path)
    assert len(list(tmp_path.glob("*.engine"))) == 4


def test_other_batch_sizes_are_built_for(library: TensorRT, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rebuilt(library, tmp_path)
    tensorrt_runner(BUNDLE, (1, 16), tmp_path)
    assert library.builds == 2
    assert "built for batches (1, 4), this is (1, 16)" in caplog.text


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "foreign", "not refused by its digest"])
def test_a_damaged_engine_is_built_anew_and_said(
    library: TensorRT, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    rebuilt(library, tmp_path)
    path = engine_path(engine_key(BUNDLE, BUCKETS, tf32=False), tmp_path)
    good = path.read_bytes()
    changed = good[:-20] + bytes([good[-20] ^ 1]) + good[-19:]
    contents = {"empty": b"", "cut": good[:-1], "changed": changed, "foreign": b"\xff" * 100}
    path.write_bytes(contents.get(damage, good))
    if damage not in contents:
        before = library.deserialize
        library.deserialize = lambda plan: before(plan) if library.builds > 1 else None  # type: ignore[method-assign]
    rebuilt(library, tmp_path)
    said = "the cached TensorRT engine is damaged" if damage in contents else "TensorRT refuses the cached engine"
    assert said in caplog.text
    assert path.read_bytes() == good


def test_what_tensorrt_refuses_is_an_error(library: TensorRT, tmp_path: Path) -> None:
    library.refuses_models = True
    with pytest.raises(RunnerError, match="TensorRT cannot read the bundle's graph: no such operator"):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)
    library.refuses_models, library.memory_is_full = False, True
    with pytest.raises(RunnerError, match="cannot build an engine"):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)
    assert list(tmp_path.glob("*.engine")) == []
    library.memory_is_full, library.refuses_engines = False, True
    with pytest.raises(RunnerError, match="refuses the engine that it has just built"):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)


def test_a_gpu_without_memory_is_an_error(library: TensorRT, tmp_path: Path) -> None:
    rebuilt(library, tmp_path)
    library.memory_is_full = True
    with pytest.raises(RunnerError, match="has no memory for another engine"):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)
    library.memory_is_full = False
    library.cuda.fails["cudaMalloc"] = 2
    message = "TensorRT 11.4.1 on GPU of the test: cudaMalloc failed with CUDA error 2"
    with pytest.raises(RunnerError, match=re.escape(message)):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)


def test_a_call_that_fails_is_an_error_and_the_next_may_work(library: TensorRT, tmp_path: Path) -> None:
    bundle = running_mean()
    ours, theirs = tensorrt_runner(bundle, BUCKETS, tmp_path), OnnxRuntimeCpu(bundle)
    step(ours, [0], True, 0), step(theirs, [0], True, 0)
    library.refuses_calls = True
    with pytest.raises(RunnerError, match="refuses the call"):
        step(ours, [0], False, 1)
    library.refuses_calls = False
    library.cuda.fails["cudaStreamSynchronize"] = 700
    with pytest.raises(RunnerError, match="cudaStreamSynchronize failed with CUDA error 700"):
        step(ours, [0], False, 1)
    library.cuda.fails.clear()
    np.testing.assert_allclose(step(ours, [0], False, 2), step(theirs, [0], False, 2), atol=1e-6)


def test_it_frees_what_it_took(library: TensorRT, tmp_path: Path) -> None:
    runner = rebuilt(library, tmp_path)
    assert library.cuda.memory
    runner.close()
    runner.close()
    assert library.cuda.memory == {}
    assert library.cuda.streams == 0


@pytest.mark.parametrize(("absent", "named"), [("tensorrt", "tensorrt"), ("cuda.bindings", "cuda-python")])
def test_what_is_not_installed_is_named(
    library: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str, named: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(RunnerError, match=rf"{named} is not installed: pip install 'skelanon\[tensorrt\]'"):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)


def test_a_tensorrt_that_is_too_old_is_refused(library: TensorRT, tmp_path: Path) -> None:
    library.__version__ = "8.6.1"
    with pytest.raises(RunnerError, match=r"TensorRT 8\.6\.1 is too old, 10 or newer is needed"):
        tensorrt_runner(BUNDLE, BUCKETS, tmp_path)
