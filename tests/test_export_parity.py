"""Every streamable model in both precisions: ONNX Runtime gives what torch gives in float32, whatever comes in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from skelanon.export.bundle import Bundle
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.runner import Floats
from skelanon.export.samples import Samples
from skelanon.train.anonymizers.auto_encoder import AutoEncoder
from skelanon.train.anonymizers.module import StreamModule
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.anonymizers.residual import ResidualBlocks, ResidualMlp, load_reference_checkpoint
from skelanon.train.anonymizers.template import Template
from skelanon.train.build import PARITY_TOLERANCE_M, export_module
from skelanon.train.samples import random_samples


@dataclass(frozen=True)
class Exported:
    module: StreamModule
    bundle: Bundle
    tolerance_m: float


def mlp() -> Normalised:
    network = ResidualMlp(1)
    torch.nn.init.normal_(network.fc2.weight, std=0.02)
    return Normalised(network, 1, "camera")


def reference_residual(axes: Literal["camera", "normalised"], folder: Path) -> Normalised:
    return Normalised(load_reference_checkpoint(folder / "pretrained_resnet.pt"), 2, axes)


MODELS: dict[str, Callable[[], StreamModule]] = {
    "template-foot_anchored": lambda: Template("foot_anchored"),
    "template-body_centred": lambda: Template("body_centred"),
    "template-keep": lambda: Template("keep"),
    "residual-paper-1-camera": mlp,
    "residual-code-2-normalised": lambda: Normalised(ResidualBlocks(2), 2, "normalised"),
    "auto_encoder-paper-2-camera": lambda: Normalised(AutoEncoder(2, "paper"), 2, "camera"),
    "auto_encoder-code-1-normalised": lambda: Normalised(AutoEncoder(1, "code"), 1, "normalised"),
}
REFERENCE = ["reference-normalised", "reference-camera"]
ELSEWHERE = ["auto_encoder-paper-2-camera-float32", "auto_encoder-code-1-normalised-float32"]
"""Exported and compared in test_train_anonymizers_auto_encoder.py; one export takes seconds."""
CASES = [case for case in product((*MODELS, *REFERENCE), PARITY_TOLERANCE_M) if "-".join(case) not in ELSEWHERE]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Untrained models have weights that change what comes in; tests of one model follow each other."""
    name, precision = request.param
    torch.manual_seed(5)
    if name.startswith("reference"):
        axes: Literal["camera", "normalised"] = "camera" if name.endswith("camera") else "normalised"
        module: StreamModule = reference_residual(axes, request.getfixturevalue("reference"))
    else:
        module = MODELS[name]()
    family = name.partition("-")[0]
    path = tmp_path_factory.mktemp("bundles") / "bundle.onnx"
    bundle = export_module(module, path, precision, name="test", anonymizer=family)
    return Exported(module, bundle, PARITY_TOLERANCE_M[precision])


def test_ten_thousand_frames_of_bodies_that_come_and_go_do_not_drift(exported: Exported) -> None:
    module, random = exported.module, np.random.default_rng(6)
    frames, tracks = 10_000 if module.state_size else 500, 4
    made = beside(random_samples(tracks=tracks, frames=250, bodies_per_sample=module.bodies_per_sample, seed=6))
    joints, present = (np.resize(part, (frames, *part.shape[1:])) for part in (made.joints, made.present))
    stepped = random.random((frames, tracks)) < np.linspace(0.05, 1, tracks)  # (T, N): some rarely, one in each frame
    runner = OnnxRuntimeCpu(exported.bundle)
    out = np.zeros_like(joints)
    seen: set[int] = set()
    for frame in range(frames):
        rows = np.flatnonzero(stepped[frame]).tolist()
        fresh = [row not in seen for row in rows]
        out[frame, rows] = runner.step(rows, fresh, joints[frame, rows], present[frame, rows])
        seen.update(rows)
    for track in range(tracks):
        here = stepped[:, track]
        whole = sequence(module, joints[here, track], present[here, track])
        np.testing.assert_allclose(out[here, track], whole, rtol=0, atol=exported.tolerance_m)


def beside(samples: Samples) -> Samples:
    """The second body 1.7 m from the first: float16 tells 2 mm only of what is near."""
    joints = samples.joints.copy()
    joints[:, :, 1:] += joints[:, :, :1, :1] - joints[:, :, 1:, :1] + 1
    return Samples(joints * samples.present[..., None, None], samples.present)


def sequence(module: StreamModule, joints: Floats, present: Floats) -> Floats:
    """(T, P, 25, 3) of one track through torch, in float32."""
    with torch.inference_mode():
        whole: Floats = module.sequence(torch.from_numpy(joints)[None], torch.from_numpy(present)[None])[0].numpy()
    return whole


SETS = ["ntu", "utd_mhad", "azure_kinect", "kinect_v2_csv", "kgbd", "ucalgary_gait", "kinectmultitrack"]


@pytest.fixture(scope="module")
def recorded(recordings: Callable[[str], Iterator[Floats]]) -> list[Floats]:
    """Bodies (F, 25, 3) of all recordings, every 40th frame of the long ones, in pieces."""
    pieces = [piece[:: 1 if len(piece) < 2000 else 40] for name in SETS for piece in recordings(name)]
    return [piece[np.isfinite(piece).all((1, 2)) & piece.any((1, 2))] for piece in pieces]


def test_all_recordings(exported: Exported, recorded: list[Floats]) -> None:
    """Each body as the first frame of a track, and then as a frame of one that is under way."""
    module, runner, bodies = exported.module, OnnxRuntimeCpu(exported.bundle), exported.module.bodies_per_sample
    compared = 0
    for piece in recorded:
        samples = len(piece) // bodies
        compare(module, runner, piece[: samples * bodies].reshape(samples, bodies, 25, 3), exported.tolerance_m)
        compared += samples
    assert compared > 10_000


def compare(module: StreamModule, runner: OnnxRuntimeCpu, joints: Floats, tolerance_m: float) -> None:
    rows, present = range(len(joints)), np.ones(joints.shape[:2], np.float32)
    state = torch.zeros(len(joints), module.state_size) if module.state_size else None
    for first in (True, False):
        inputs = torch.from_numpy(joints), torch.from_numpy(present) if module.bodies_per_sample > 1 else None
        with torch.inference_mode():
            expected, *carried = module(*inputs, state)
        state = carried[0] if carried else None
        out = runner.step(rows, [first] * len(joints), joints, present)
        np.testing.assert_allclose(out, expected.numpy(), rtol=0, atol=tolerance_m)
        joints = np.roll(joints, 1, axis=0)


def test_in_half_precision_weights_are_halves_and_all_that_goes_in_and_out_is_not(exported: Exported) -> None:
    manifest = exported.bundle.manifest
    graph = onnx.load_model_from_string(exported.bundle.model).graph
    kinds: dict[str, set[int]] = {
        "interface": {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)},
        "network": {t.data_type for t in graph.initializer if t.name.startswith("network.") or t.name == "to_joints"},
        "normalisation": {
            t.data_type for t in graph.initializer if t.name in ("points", "middle", "to_bones", "to_squared_lengths")
        },
    }
    wanted = onnx.TensorProto.FLOAT16 if manifest.precision == "float16" else onnx.TensorProto.FLOAT
    assert kinds == {
        "interface": {onnx.TensorProto.FLOAT},
        "network": {wanted},
        "normalisation": {onnx.TensorProto.FLOAT},
    }
    assert all(weight.dtype != torch.float16 for weight in exported.module.state_dict().values())  # a copy was halved


def test_a_body_that_faces_away_is_turned_alike(exported: Exported) -> None:
    """Near the half turn a rotation magnifies rounding: the smallest angles that are not yet taken for it."""
    module, runner = exported.module, OnnxRuntimeCpu(exported.bundle)
    base = random_samples(tracks=1, frames=1, bodies_per_sample=1, seed=7).joints[0, 0, 0]
    angles = np.pi + np.geomspace(1e-5, 1e-1, 30)
    bodies = np.stack([base @ about_the_vertical(angle).T + (0, 0, 3) for angle in facing_the_sensor(base) + angles])
    joints = np.repeat(bodies[:, None], module.bodies_per_sample, 1).astype(np.float32)
    compare(module, runner, joints, exported.tolerance_m)


def facing_the_sensor(body: Floats) -> float:
    """The angle about the vertical that brings ShoulderLeft to ShoulderRight to +x."""
    x, _, z = body[8] - body[4]
    return float(np.arctan2(z, x))


def about_the_vertical(angle: float) -> NDArray[np.float64]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
