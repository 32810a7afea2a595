"""A bundle's graph with its states and personas in pools that stay on the device.

inputs   joints, present    as the manifest says, N samples
         resident_places    int64 [3, N]: the slot each state is read from, the one it is written to, the persona's row
         resident_pool      float32 [R, S]: the states, by slot                          (omitted when S = 0)
         resident_personas  float32 [Q, K]                                               (omitted when K = 0)
outputs  anonymous          as the manifest says
         resident_next      float32 [R, S]: the pool after the call
         resident_moved     float32 [N]: largest change of each state
"""

import copy
from collections.abc import Sequence
from typing import Any, Final

from .bundle import Bundle
from .errors import RunnerError
from .manifest import Manifest

PLACES: Final = "resident_places"
POOL: Final = "resident_pool"
NEXT: Final = "resident_next"
MOVED: Final = "resident_moved"
PERSONAS: Final = "resident_personas"
ZERO_SLOT: Final = 0
"""Is zero, and is never written: new tracks start from it."""
SCRATCH_SLOT: Final = 1
"""Is written by whatever fills a batch up, and never read."""
FIRST_SLOT: Final = 2
SLOTS_PER_ROW: Final = 3
ROWS: Final = 1024
"""Rows there is room for at first; the pools double when there are more, which costs one long call."""
MOST_ROWS: Final = 64 * ROWS
OLDEST_OPSET: Final = 18

Shapes = dict[str, tuple[int, ...]]


def resident_model(bundle: Bundle) -> bytes:
    """The ONNX model to load: the bundle's own where it has neither state nor persona.

    Raises RunnerError where onnx is not installed or the bundle's operators are too old.
    """
    manifest = bundle.manifest
    if not manifest.state_size and not manifest.persona_size:
        return bundle.model
    try:
        import onnx
    except ImportError as error:
        raise RunnerError(
            "onnx is not installed, which puts the state on the device: pip install 'skelanon[gpu]'"
        ) from error
    model = onnx.load_model_from_string(bundle.model)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise RunnerError(f"the bundle has ONNX operators of version {opset}, at least {OLDEST_OPSET} are needed here")
    _without_shortcut(model.graph)
    _wrap(onnx.helper, onnx.TensorProto, model.graph, manifest.state_size, manifest.persona_size)
    serialised: bytes = model.SerializeToString()
    return serialised


def _wrap(helper: Any, types: Any, graph: Any, state_size: int, persona_size: int) -> None:
    """Read `state` and `persona` from the pools before all nodes, write the next states to the pool after them."""
    value, node = helper.make_tensor_value_info, helper.make_node
    before, after = [], []

    def place(name: str, number: int) -> None:
        graph.initializer.append(helper.make_tensor(f"{name}_number", types.INT64, [], [number]))
        before.append(node("Gather", [PLACES, f"{name}_number"], [name], name=name, axis=0))

    graph.input.append(value(PLACES, types.INT64, [3, "N"]))
    if state_size:
        _remove(graph.input, "state")
        _remove(graph.output, "next_state")
        graph.input.append(value(POOL, types.FLOAT, ["R", state_size]))
        graph.output.append(value(NEXT, types.FLOAT, ["R", state_size]))
        graph.output.append(value(MOVED, types.FLOAT, ["N"]))
        graph.initializer.append(helper.make_tensor("resident_last", types.INT64, [1], [1]))
        place("resident_read", 0)
        place("resident_write", 1)
        before.append(node("Gather", [POOL, "resident_read"], ["state"], name="state", axis=0))
        after += [
            node("Unsqueeze", ["resident_write", "resident_last"], ["resident_slots"], name="resident_slots"),
            node("ScatterND", [POOL, "resident_slots", "next_state"], [NEXT], name=NEXT),
            node("Sub", ["next_state", "state"], ["resident_change"], name="resident_change"),
            node("Abs", ["resident_change"], ["resident_size"], name="resident_size"),
            node("ReduceMax", ["resident_size", "resident_last"], [MOVED], name=MOVED, keepdims=0),
        ]
    if persona_size:
        _remove(graph.input, "persona")
        graph.input.append(value(PERSONAS, types.FLOAT, ["Q", persona_size]))
        place("resident_who", 2)
        before.append(node("Gather", [PERSONAS, "resident_who"], ["persona"], name="persona", axis=0))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _without_shortcut(graph: Any) -> None:
    """Always compute the next states, also where a bundle would hand settled ones on unchanged, which gives the same.

    On a GPU the choice would cost more than it spares: the host would have to wait for it, and no CUDA graph with an
    `If` can be recorded.
    """
    nodes = []
    for node in graph.node:
        branches = {attribute.name: attribute.g for attribute in node.attribute} if node.op_type == "If" else {}
        shortcut = branches.get("then_branch")
        if shortcut is None or [(step.op_type, *step.input) for step in shortcut.node] != [("Identity", "state")]:
            nodes.append(node)
            continue
        whole = branches["else_branch"]
        (made,), (wanted,) = whole.output, node.output
        graph.initializer.extend(whole.initializer)
        for step in whole.node:
            step.output[:] = [wanted if name == made.name else name for name in step.output]
            step.input[:] = [wanted if name == made.name else name for name in step.input]
            nodes.append(step)
    nodes = [copy.deepcopy(node) for node in nodes]  # they go with the list that they lie in
    del graph.node[:]
    graph.node.extend(nodes)


def _remove(values: Any, name: str) -> None:
    values.remove(next(value for value in values if value.name == name))


def resident_shapes(manifest: Manifest, samples: int, rows: int) -> Shapes:
    """Shape of each input of the model that `resident_model` makes, for so many samples and rows of state."""
    shapes: Shapes = {
        name: (samples, *shape) for name, shape in manifest.inputs.items() if name in ("joints", "present")
    }
    if manifest.state_size or manifest.persona_size:
        shapes[PLACES] = (3, samples)
    if manifest.state_size:
        shapes[POOL] = (FIRST_SLOT + SLOTS_PER_ROW * rows, manifest.state_size)
    if manifest.persona_size:
        shapes[PERSONAS] = (rows, manifest.persona_size)
    return shapes


def shape_ranges(manifest: Manifest, buckets: Sequence[int]) -> tuple[Shapes, Shapes, Shapes]:
    """Least, usual and largest shapes, as an engine's optimisation profile takes them."""
    return (
        resident_shapes(manifest, buckets[0], ROWS),
        resident_shapes(manifest, buckets[len(buckets) // 2], ROWS),
        resident_shapes(manifest, buckets[-1], MOST_ROWS),
    )
