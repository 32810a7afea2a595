"""Every streamable model: frame by frame equals whole sequence, ONNX equals torch, and the shipped bundle is ours."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from skelanon.cli.main import app
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.errors import BundleError
from skelanon.export.manifest import Axes
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.sensors.joints import BONES, INDEX, PARENTS
from skelanon.train.anonymizers.module import StreamModule
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.anonymizers.residual import ResidualBlocks, ResidualMlp, load_reference_checkpoint
from skelanon.train.anonymizers.template import Template
from skelanon.train.build import build_template, export_module
from skelanon.train.samples import extreme_samples, random_samples


def trained_mlp(axes: Axes, bodies: int) -> Normalised:
    torch.manual_seed(1)
    network = ResidualMlp(bodies)
    torch.nn.init.normal_(network.fc2.weight, std=0.02)
    return Normalised(network, 1 if bodies == 1 else 2, axes)


def blocks(axes: Axes, bodies: int) -> Normalised:
    torch.manual_seed(2)
    return Normalised(ResidualBlocks(1 if bodies == 1 else 2), 1 if bodies == 1 else 2, axes)


MODELS: dict[str, Callable[[], StreamModule]] = {
    "template-foot_anchored": lambda: Template("foot_anchored"),
    "template-body_centred": lambda: Template("body_centred"),
    "template-keep": lambda: Template("keep"),
    "mlp-1-camera": lambda: trained_mlp("camera", 1),
    "mlp-1-normalised": lambda: trained_mlp("normalised", 1),
    "mlp-2-camera": lambda: trained_mlp("camera", 2),
    "mlp-2-normalised": lambda: trained_mlp("normalised", 2),
    "blocks-1-camera": lambda: blocks("camera", 1),
    "blocks-1-normalised": lambda: blocks("normalised", 1),
    "blocks-2-camera": lambda: blocks("camera", 2),
    "blocks-2-normalised": lambda: blocks("normalised", 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_frame_by_frame_with_carried_state_equals_the_whole_sequence(name: str) -> None:
    model = MODELS[name]()
    samples = random_samples(tracks=12, frames=8, bodies_per_sample=model.bodies_per_sample, seed=3)
    joints, present = torch.from_numpy(samples.joints), torch.from_numpy(samples.present)  # (T, N, ...)
    state = torch.zeros(12, model.state_size) if model.state_size else None
    frames = []
    with torch.inference_mode():
        for frame in range(8):
            out, *rest = model(joints[frame], present[frame] if model.bodies_per_sample > 1 else None, state)
            state = rest[0] if rest else None
            frames.append(out)
        whole = model.sequence(joints.transpose(0, 1), present.transpose(0, 1))
    torch.testing.assert_close(torch.stack(frames, 1), whole, atol=1e-6, rtol=0)


def test_the_shipped_bundle_is_what_the_command_builds(tmp_path: Path) -> None:
    shipped = read_bundle(default_bundle_path())
    built_with = shipped.manifest.provenance["packages"]
    here = {name: version(name).partition("+")[0] for name in built_with}
    if here != built_with:
        pytest.skip(f"the shipped bundle was built with {built_with}, here are {here}")
    script = f"from skelanon.train.build import build_template; build_template({str(tmp_path / 'template.onnx')!r})"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=100)
    assert (tmp_path / "template.onnx").read_bytes() == shipped.model
    assert shipped.manifest.root == "foot_anchored"


def test_reference_residual_through_the_runner_gives_the_reference_frames(
    reference_bundle: Path, reference: Path
) -> None:
    expected = np.load(reference / "ntu_expected.npz")
    raw, anonymised = (expected[key].transpose(2, 0, 4, 3, 1) for key in ("raw", "anonymised"))  # (T, N, M, V, C)
    present = raw.any(axis=(3, 4)).astype(np.float32)
    runner = OnnxRuntimeCpu(read_bundle(reference_bundle))
    for frame in range(300):
        rows = np.flatnonzero(present[frame].any(1)).tolist()
        if not rows:
            break
        out = runner.step(rows, [frame == 0] * len(rows), raw[frame, rows], present[frame, rows])
        here = present[frame, rows] > 0
        np.testing.assert_allclose(out[here], anonymised[frame, rows][here], rtol=0, atol=1e-4)
    assert frame > 100


def test_camera_axes_are_the_normalised_output_turned_back(tmp_path: Path, reference: Path) -> None:
    expected = np.load(reference / "ntu_expected.npz")
    network = load_reference_checkpoint(reference / "pretrained_resnet.pt")
    raw = torch.from_numpy(expected["raw"].transpose(0, 2, 4, 3, 1).copy())[:, :40]
    present = raw.ne(0).any(-1).any(-1).float()
    with torch.inference_mode():
        camera = Normalised(network, 2, "camera").sequence(raw, present)
        normalised = Normalised(network, 2, "normalised").sequence(raw, present)
    distances = [torch.cdist(x.flatten(2, 3), x.flatten(2, 3)) for x in (camera, normalised)]
    both = present.repeat_interleave(25, 2)
    both = both[..., None] * both[..., None, :]
    torch.testing.assert_close(distances[0] * both, distances[1] * both, atol=2e-3, rtol=0)


def test_the_command_writes_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    done = CliRunner().invoke(app, ["export", "--out", str(path), "--precision", "float16", "--root", "keep"])
    assert done.exit_code == 0, done.output
    found = read_bundle(path).manifest
    assert (found.precision, found.root, found.parity_tolerance_m) == ("float16", "keep", 2e-3)


def test_a_network_that_half_precision_is_not_enough_for_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResidualMlp(1)
    torch.nn.init.normal_(network.fc2.weight, std=20.0)
    with pytest.raises(BundleError, match=r"parity gate: `anonymous` .* \(`parity_tolerance_m` 0.002 up to 10 m\)"):
        export_module(Normalised(network, 1), tmp_path / "x.onnx", "float16", name="test", anonymizer="residual")
    assert not list(tmp_path.iterdir())


def test_extreme_samples_are_bodies_turned_to_every_side_and_without_length() -> None:
    turned, _, short, far, _ = extreme_samples(bodies_per_sample=2)
    spines = turned.joints[0, :, 0, INDEX["SpineMid"]] - turned.joints[0, :, 0, INDEX["SpineBase"]]
    sides = np.unique(np.round(spines / np.linalg.norm(spines, axis=1, keepdims=True), 3) + 0.0, axis=0)
    assert sorted(map(tuple, sides.tolist())) == sorted(map(tuple, [*np.eye(3).tolist(), *(-np.eye(3)).tolist()]))
    lengths = np.linalg.norm(short.joints - short.joints[..., PARENTS, :], axis=-1)[..., 1:]
    assert (lengths[0, :, 0] < 1e-7).any(1).sum() == len(BONES) + 1
    assert not lengths[0, -3, 0].any()  # all joints in one point
    assert np.abs(far.joints).max() > 50


def test_the_command_says_why_a_bundle_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot write the bundle: No such file or directory"):
        build_template(tmp_path / "missing" / "template.onnx", "keep")
