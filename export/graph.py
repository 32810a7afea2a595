"""From a torch module to the bytes of an ONNX graph: N left open, names that can be read, nothing but the function.

torch's exporter folds constants and shares what is computed twice; what is left to do here is names.
"""

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from .errors import BundleError
from .runner import Floats

if TYPE_CHECKING:
    import torch

OPSET: Final = 18
"""What torch's exporter writes without conversion; ONNX Runtime reads it from 1.14 on, TensorRT from 8.6 on."""
IR_VERSION: Final = 10
_SCOPES: Final = "pkg.torch.onnx.name_scopes"
"""Under this torch's exporter notes the modules that a node comes from: "['', 'network', 'network.fc1', 'linear']"."""


def to_onnx(module: "torch.nn.Module", name: str, inputs: dict[str, Floats], outputs: Iterable[str]) -> bytes:
    """The serialised graph: no names of files, no traces of the source, the same bytes every time.

    name: of the graph. inputs: example values with N >= 2 (torch's exporter builds sizes 0 and 1 in). outputs: names.
    Raises BundleError.
    """
    import torch

    batch = torch.export.Dim("N")
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                kwargs={name: torch.from_numpy(value) for name, value in inputs.items()},
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes={name: {0: batch} for name in inputs},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise BundleError(f"torch cannot export this module ({type(error).__name__}): see the cause") from error
    assert program is not None  # it is None only for the old exporter
    model = program.model_proto
    _name(model.graph, {*dict(module.named_parameters()), *dict(module.named_buffers())})
    _strip(model)
    model.graph.name = name
    model.ir_version = IR_VERSION
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _name(graph: Any, weights: set[str]) -> None:
    """Call nodes after their module and operator, values after their node, and constants by number."""
    fixed = {value.name for value in (*graph.input, *graph.output)}
    names = {name: name for name in (*fixed, *weights)}
    for tensor in graph.initializer:
        if tensor.name not in names:
            names[tensor.name] = f"constant_{len(names) - len(fixed) - len(weights) + 1}"
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    _name_nodes(graph, "", names, Counter())


def _name_nodes(graph: Any, prefix: str, names: dict[str, str], used: Counter[str]) -> None:
    """names: from torch's names of values to ours; a branch sees those of the graph around it."""
    for node in graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
        module = [scope.strip(" '") for scope in scopes.strip("[]").split(",")][:-1][-1:]
        name = "/".join(part for part in (prefix, *module, node.op_type) if part)
        used[name] += 1
        node.name = f"{name}_{used[name]}" if used[name] > 1 else name
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _name_nodes(attribute.g, f"{node.name}/{attribute.name.removesuffix('_branch')}", names, used)
        for number, output in enumerate(node.output):
            names.setdefault(output, f"{node.name}:{number}" if len(node.output) > 1 else node.name)
        _rename(node, names)
    for value in graph.output:
        value.name = names[value.name]


def _rename(node: Any, names: dict[str, str]) -> None:
    node.input[:] = [names.get(value, value) for value in node.input]
    node.output[:] = [names.get(value, value) for value in node.output]


def _strip(model: Any) -> None:
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        model.ClearField(field)
    _strip_graph(model.graph)


def _strip_graph(graph: Any) -> None:
    graph.ClearField("value_info")
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        attribute.ClearField("doc_string")
        if attribute.HasField("g"):
            attribute.g.name = attribute.name.removesuffix("_branch")
            _strip_graph(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about packages it could also use, and its own deprecations, to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
