"""The graph of a bundle: names that can be read, few kernels, and a short cut that device runners know to take out."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from skelanon.export.bundle import Bundle
from skelanon.export.onnx_runtime import import_onnxruntime
from skelanon.export.resident import _without_shortcut
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.anonymizers.residual import ResidualBlocks
from skelanon.train.build import build_template, export_module
from skelanon.train.samples import random_samples


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundles") / "residual.onnx"
    module = Normalised(ResidualBlocks(2), 2, "camera")
    return export_module(module, path, "float32", name="test", anonymizer="residual")


def model_of(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load_model_from_string(bundle.model)


def branches(graph: Any) -> list[Any]:
    return [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]


def test_nodes_are_named_after_their_modules_and_operators(residual: Bundle) -> None:
    graph = model_of(residual).graph
    names = [node.name for part in (graph, *branches(graph)) for node in part.node]
    assert len(set(names)) == len(names)
    assert {"network.0.fc1/Gemm", "network.9/Add", "If", "If/else/Where", "If/then/Identity"} <= set(names)
    assert all(name.rpartition("/")[2].partition("_")[0].isalnum() for name in names)
    given = {tensor.name for tensor in graph.initializer}
    assert {"network.3.fc2.weight", "points", "carrier", "constant_1"} <= given
    assert all(name in given | {"joints", "present", "state"} or name in values(graph) for name in inputs(graph))


def values(graph: Any) -> set[str]:
    return {value for part in (graph, *branches(graph)) for node in part.node for value in node.output}


def inputs(graph: Any) -> set[str]:
    return {value for part in (graph, *branches(graph)) for node in part.node for value in node.input}


def test_no_part_of_the_graph_remembers_its_source(residual: Bundle) -> None:
    graph = model_of(residual).graph
    for part in (graph, *branches(graph)):
        assert not part.value_info
        assert not any(element.doc_string or element.metadata_props for element in (part, *part.node))


def test_a_stateless_frame_is_few_kernels(tmp_path: Path) -> None:
    """The number that torch's exporter reaches today: an update that adds kernels shows here."""
    assert len(model_of(build_template(tmp_path / "template.onnx")).graph.node) <= 17


def test_a_settled_frame_is_few_kernels(residual: Bundle) -> None:
    """Two bodies, camera axes: 50 of the network (before ONNX Runtime fuses 20 of them), 23 around it, and the `If`."""
    assert len(model_of(residual).graph.node) <= 74


def test_without_its_short_cut_it_computes_the_same(residual: Bundle) -> None:
    model = model_of(residual)
    _without_shortcut(model.graph)
    onnx.checker.check_model(model, full_check=True)
    assert not branches(model.graph)
    runtime = import_onnxruntime()
    sessions = [
        runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for content in (residual.model, model.SerializeToString())
    ]
    samples = random_samples(tracks=5, frames=3, bodies_per_sample=2)
    carried = np.zeros((2, 5, 10), np.float32)
    for frame in range(3):
        feed = {"joints": samples.joints[frame], "present": samples.present[frame]}
        results = [session.run(None, feed | {"state": state}) for session, state in zip(sessions, carried, strict=True)]
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
        carried = np.stack([state for _, state in results])
    assert carried[0, :, 9].all()
