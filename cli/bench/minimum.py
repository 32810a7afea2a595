"""What a bundle's arithmetic costs when it is written by hand: matrix products with buffers that are already there."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelanon.export.bundle import Bundle
from skelanon.export.runner import Floats

Weights = dict[str, NDArray[np.float32]]


def minimum(bundle: Bundle, joints: Floats) -> tuple[str, Callable[[], Floats]]:
    """Its description, and a function that computes it once for joints (N, P, 25, 3) and gives its last buffer.

    Template (`foot_anchored`) is written out whole, in numpy. Of others only the products with weights are computed,
    without their biases, activations and sums, and without the rotation: less than the least.
    """
    import onnx

    graph = onnx.load_model_from_string(bundle.model).graph
    weights: Weights = {
        tensor.name: np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)).astype(np.float32)
        for tensor in graph.initializer
    }
    if bundle.manifest.anonymizer == "template" and bundle.manifest.root == "foot_anchored":
        return "numpy by hand", _template(weights, joints)
    return "bare BLAS calls", _products(graph, weights, len(joints))


def _template(weights: Weights, joints: Floats) -> Callable[[], Floats]:
    to_bones, hint, to_squares = (weights[name] for name in ("to_bones", "hint", "to_squared_lengths"))
    to_joints, reach = weights["to_joints"], np.float32(64.0)
    rows = joints.reshape(-1, 75)
    raw, body = np.empty_like(rows), np.empty_like(rows)
    bones, squares, lengths = np.empty((3, len(rows), 72), np.float32)
    left, right = 3 * 15 + 1, 3 * 19 + 1  # the feet's y
    place = np.empty((len(rows), 1, 3), np.float32)

    def run() -> Floats:
        np.clip(rows, -reach, reach, out=raw)
        np.matmul(raw, to_bones, out=bones)
        np.add(bones, hint, out=bones)
        np.multiply(bones, bones, out=squares)
        np.matmul(squares, to_squares, out=lengths)
        np.sqrt(lengths, out=lengths)
        np.divide(bones, lengths, out=bones)
        np.matmul(bones, to_joints, out=body)
        place[:, 0] = raw[:, :3]
        place[:, 0, 1] = np.minimum(raw[:, left], raw[:, right]) - np.minimum(body[:, left], body[:, right])
        anonymous = body.reshape(-1, 25, 3)
        np.add(anonymous, place, out=anonymous)
        return anonymous.reshape(joints.shape)

    return run


def _products(graph: Any, weights: Weights, samples: int) -> Callable[[], Floats]:
    """One sgemm for each product of a row with weights that every frame computes."""
    calls = []
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            weight = weights[node.input[1]].T if turned else weights[node.input[1]]
            rows = np.ones((samples, weight.shape[0]), np.float32)
            calls.append((rows, weight, np.empty((samples, weight.shape[1]), np.float32)))

    def run() -> Floats:
        for rows, weight, out in calls:
            np.matmul(rows, weight, out=out)
        return out

    return run
