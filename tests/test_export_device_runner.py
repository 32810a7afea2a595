"""Runners with their state on a device, tried on the CPU: what comes out is what a runner on the host gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from skelanon.export import device_runner
from skelanon.export.bundle import Bundle, default_bundle_path, read_bundle
from skelanon.export.device import Array
from skelanon.export.device_runner import DeviceRunner
from skelanon.export.errors import RunnerError
from skelanon.export.manifest import Manifest
from skelanon.export.onnx_runtime import import_onnxruntime
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.ort_device import OrtDevice
from skelanon.export.resident import PLACES, POOL, resident_model, shape_ranges
from skelanon.export.runner import Floats, RowRunner

BUCKETS = (1, 4, 8)


class Watched(OrtDevice):
    """ONNX Runtime's CPU provider; counts what crosses the bus, and breaks when told to."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(import_onnxruntime(), resident_model(bundle), [("CPUExecutionProvider", {})], memory="cpu")
        self.sent = self.fetched = self.calls = 0
        self.breaks_after: int | None = None
        self.closed = False

    def upload(self, buffer: Any, values: Array) -> None:
        self.sent += values.nbytes
        super().upload(buffer, values)

    def download(self, buffer: Any) -> Array:
        values = super().download(buffer)
        self.fetched += values.nbytes
        return values

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Callable[[], None]:
        run = super().bind(inputs, outputs)

        def watched() -> None:
            self.calls += 1
            run()  # a device that fails has written already
            if self.breaks_after is not None:
                self.breaks_after -= 1
                if self.breaks_after < 0:
                    raise MemoryError("joint 1.25")

        return watched

    def close(self) -> None:
        self.closed = True
        super().close()


def counting(top: float = np.inf, *, bodies: Any = 1, state: int = 1, persona: int = 1) -> Bundle:
    """Adds to each joint how many frames its sample has seen, `top` at most, its persona, and who is present."""
    onnx = pytest.importorskip("onnx", reason="needs skelanon[gpu] or skelanon[train]")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    manifest = Manifest(
        name="counting", anonymizer="test", bodies_per_sample=bodies, state_size=state, persona_size=persona,
        axes="camera", root="model", parity_tolerance_m=1e-5,
    )  # fmt: skip
    nodes, sums = [], ["joints"]
    for name in ("state", "persona", "present"):
        if name in manifest.inputs:
            nodes.append(helper.make_node("Reshape", [name, f"{name}_shape"], [f"{name}_wide"]))
            sums.append(f"{name}_wide")
    nodes.append(helper.make_node("Sum", sums, ["anonymous"]))
    if state:
        nodes.append(helper.make_node("Add", ["state", "one"], ["later"]))
        nodes.append(helper.make_node("Min", ["later", "top"], ["next_state"]))
    constants = [
        helper.make_tensor("state_shape", onnx.TensorProto.INT64, [4], [-1, 1, 1, max(1, state)]),
        helper.make_tensor("persona_shape", onnx.TensorProto.INT64, [4], [-1, 1, 1, max(1, persona)]),
        helper.make_tensor("present_shape", onnx.TensorProto.INT64, [4], [-1, bodies, 1, 1]),
        helper.make_tensor("one", floats, [], [1.0]),
        helper.make_tensor("top", floats, [], [top]),
    ]
    values = [
        [helper.make_tensor_value_info(name, floats, ["N", *shape]) for name, shape in named.items()]
        for named in (manifest.inputs, manifest.outputs)
    ]
    graph = helper.make_graph(nodes, "counting", *values, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Bundle(manifest, "0" * 64, model.SerializeToString())


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for four rows at first, and for 64 at most."""
    monkeypatch.setattr(device_runner, "ROWS", 4)
    monkeypatch.setattr(device_runner, "MOST_ROWS", 64)


@pytest.fixture
def device() -> Watched:
    return Watched(counting())


def step(runner: RowRunner, rows: Sequence[int], fresh: Sequence[bool], seed: int = 0) -> Floats:
    """Random joints through a runner, the odd samples' last body absent."""
    bodies = runner.manifest.bodies_per_sample
    joints = np.random.default_rng(seed).standard_normal((len(rows), bodies, 25, 3)).astype(np.float32)
    present = np.ones(joints.shape[:2], np.float32)
    present[1::2, bodies - 1] = 0.0 if bodies > 1 else 1.0
    return runner.step(rows, fresh, joints, present)


def counts(runner: RowRunner, rows: Sequence[int], fresh: bool = False) -> list[int]:
    """How many frames each row has seen before this one; the persona is below one half."""
    joints = np.zeros((len(rows), 1, 25, 3), np.float32)
    anonymous = runner.step(rows, [fresh] * len(rows), joints, np.ones((len(rows), 1), np.float32))
    seen: list[int] = anonymous[:, 0, 0, 0].round().astype(int).tolist()
    return seen


def batches(seed: int, most_rows: int) -> Iterator[tuple[list[int], list[bool]]]:
    """Calls in which bodies come, stay, follow themselves, restart and go; the first frame of a row is fresh."""
    random = np.random.default_rng(seed)
    known: set[int] = set()
    for call in range(40):
        top = 3 + most_rows * call // 40
        rows = random.integers(0, top, random.integers(1, 24)).tolist()
        if call % 2:
            rows = list(dict.fromkeys(rows))
        fresh = []
        for row in rows:
            fresh.append(row not in known or random.random() < 0.1)
            known.add(row)
        yield rows, fresh


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("top", [np.inf, 1.0])
@pytest.mark.parametrize(
    ("bodies", "state", "persona"), [(1, 1, 1), (2, 1, 1), (1, 3, 0), (2, 0, 1), (1, 0, 1), (2, 0, 0), (1, 0, 0)]
)
def test_a_device_gives_what_the_host_gives(top: float, bodies: int, state: int, persona: int) -> None:
    """Whatever the batch: through every bucket, beyond the largest, with pools that grow."""
    bundle = counting(top, bodies=bodies, state=state, persona=persona)
    ours, theirs = DeviceRunner(bundle, Watched(bundle), BUCKETS), OnnxRuntimeCpu(bundle)
    ours.reseed(7)
    theirs.reseed(7)
    for number, (rows, fresh) in enumerate(batches(0, 50)):
        found, expected = step(ours, rows, fresh, number), step(theirs, rows, fresh, number)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_shipped_bundle_gives_the_same_on_a_device() -> None:
    bundle = read_bundle(default_bundle_path())
    ours, theirs = DeviceRunner(bundle, Watched(bundle), BUCKETS), OnnxRuntimeCpu(bundle)
    rows = list(range(11))
    np.testing.assert_allclose(step(ours, rows, [True] * 11), step(theirs, rows, [True] * 11), atol=1e-5)


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize(
    ("rows", "breaks_after"),
    [([0], 0), ([1, 0], 0), ([0, 0, 1, 0], 2), ([0] * 8, 5), ([0] * 8, 6), (list(range(20)), 1), (list(range(20)), 2)],
)
def test_a_failed_call_changes_no_state(device: Watched, rows: list[int], breaks_after: int) -> None:
    """Though the device has written: in a batch that is cut up, or among frames that follow each other, too."""
    bundle = counting(persona=0)
    device = Watched(bundle)
    runner = DeviceRunner(bundle, device, BUCKETS)
    everybody = list(range(20))
    assert counts(runner, everybody, fresh=True) == [0] * 20
    assert counts(runner, everybody) == [1] * 20
    device.breaks_after = breaks_after
    with pytest.raises(RunnerError, match=r"^CPUExecutionProvider failed \(MemoryError\)$"):
        counts(runner, rows)
    device.breaks_after = None
    assert counts(runner, everybody) == [2] * 20
    assert counts(runner, [3, 3, 3]) == [3, 4, 5]
    assert counts(runner, everybody) == [6 if row == 3 else 3 for row in everybody]


def test_bodies_come_and_go_without_moving_the_state_of_others() -> None:
    bundle = counting(persona=0)
    runner = DeviceRunner(bundle, Watched(bundle), BUCKETS)
    counts(runner, [0, 1, 2], fresh=True)
    assert counts(runner, [2]) == [1]
    assert counts(runner, [9, 4], fresh=True) == [0, 0]
    assert counts(runner, [4, 2, 0]) == [1, 2, 1]
    assert counts(runner, [2], fresh=True) == [0]
    assert counts(runner, [1, 2, 9]) == [1, 1, 1]


def test_only_joints_and_places_cross_the_bus(device: Watched) -> None:
    bundle = counting()
    runner = DeviceRunner(bundle, device, BUCKETS)
    step(runner, [0, 1, 2], [True] * 3)
    device.sent = device.fetched = 0
    step(runner, [0, 1, 2], [False] * 3)
    joints, places = 4 * 25 * 3 * 4, 3 * 4 * 8  # of the bucket of four
    assert (device.sent, device.fetched) == (joints + places, joints)


def test_every_size_has_run_both_ways_before_it_is_ready(device: Watched) -> None:
    runner = DeviceRunner(counting(), device, BUCKETS)
    assert device.calls == 4 * len(BUCKETS)
    assert counts(runner, [0]) == [0]  # and has left no state behind


def test_no_raw_joint_stays_behind_in_what_fills_a_batch_up(device: Watched) -> None:
    runner = DeviceRunner(counting(), device, (8,))
    step(runner, list(range(8)), [True] * 8)
    step(runner, [0], [False])
    (bucket,) = runner._buckets
    assert bucket.joints[0].any()
    assert not bucket.joints[1:].any()


@pytest.mark.usefixtures("few_rows")
def test_more_bodies_than_there_is_room_for_are_refused(device: Watched) -> None:
    runner = DeviceRunner(counting(), device, BUCKETS)
    counts(runner, [63], fresh=True)
    with pytest.raises(RunnerError, match="65 samples at the same time; this runner has room for 64"):
        counts(runner, [64], fresh=True)


@pytest.mark.parametrize("buckets", [(), (0, 1), (4, 1), (2, 2)])
def test_bad_batch_sizes_are_refused(device: Watched, buckets: tuple[int, ...]) -> None:
    with pytest.raises(RunnerError, match=r"`model.buckets` is \["):
        DeviceRunner(counting(), device, buckets)


def test_a_device_that_cannot_run_every_size_is_given_up_and_freed(device: Watched) -> None:
    device.breaks_after = 6
    with pytest.raises(RunnerError, match="failed"):
        DeviceRunner(counting(), device, BUCKETS)
    assert device.closed


def test_a_model_without_state_needs_no_onnx() -> None:
    bundle = read_bundle(default_bundle_path())
    assert resident_model(bundle) is bundle.model


def test_what_spares_a_cpu_some_work_is_not_taken_to_a_device() -> None:
    """An `If` that hands settled states on: the host would wait for it, and CUDA graphs cannot hold it."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    model = onnx.load_model_from_string(counting(top=1.0).model)
    graph = model.graph
    value = helper.make_tensor_value_info
    later = [node for node in graph.node if node.op_type in ("Add", "Min")]
    later[-1].output[0] = "computed"
    branches = {
        "then_branch": helper.make_graph(
            [helper.make_node("Identity", ["state"], ["same"])], "then", [], [value("same", 1, ["N", 1])]
        ),
        "else_branch": helper.make_graph(later, "else", [], [value("computed", 1, ["N", 1])]),
    }
    others = [node for node in graph.node if node.op_type not in ("Add", "Min")]
    settled = [
        helper.make_node("ReduceMin", ["state"], ["least"], keepdims=0),
        helper.make_node("Equal", ["least", "one"], ["settled"]),
        helper.make_node("If", ["settled"], ["next_state"], **branches),
    ]
    nodes = [*others, *settled]
    whole = helper.make_graph(nodes, "shortcut", graph.input, graph.output, initializer=graph.initializer)
    made = helper.make_model(whole, opset_imports=model.opset_import, ir_version=10)
    bundle = Bundle(counting().manifest, "2" * 64, made.SerializeToString())
    assert "If" not in {node.op_type for node in onnx.load_model_from_string(resident_model(bundle)).graph.node}
    ours, theirs = DeviceRunner(bundle, Watched(bundle), BUCKETS), OnnxRuntimeCpu(bundle)
    ours.reseed(7)
    theirs.reseed(7)
    for number, (rows, fresh) in enumerate(batches(1, 6)):
        np.testing.assert_allclose(step(ours, rows, fresh, number), step(theirs, rows, fresh, number), atol=1e-5)


def test_operators_that_are_too_old_are_refused() -> None:
    onnx = pytest.importorskip("onnx")
    bundle = counting()
    model = onnx.load_model_from_string(bundle.model)
    model.opset_import[0].version = 17
    with pytest.raises(RunnerError, match="ONNX operators of version 17, at least 18"):
        resident_model(Bundle(bundle.manifest, bundle.sha256, model.SerializeToString()))


def test_an_engine_is_made_for_every_size_and_as_many_rows() -> None:
    least, usual, most = shape_ranges(counting(bodies=2, state=5).manifest, BUCKETS)
    assert [shapes["joints"] for shapes in (least, usual, most)] == [(1, 2, 25, 3), (4, 2, 25, 3), (8, 2, 25, 3)]
    assert most[PLACES] == (3, 8)
    assert most[POOL] == (2 + 3 * 65536, 5)
    assert most["present"] == (8, 2)
