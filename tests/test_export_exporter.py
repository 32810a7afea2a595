"""The exporter: what it writes is what torch computes, the same bytes every time, or nothing at all."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from skelanon.export.bundle import read_bundle
from skelanon.export.errors import BundleError
from skelanon.export.exporter import export_bundle
from skelanon.export.graph import OPSET
from skelanon.export.manifest import Manifest, manifest_from_json, manifest_to_json
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.samples import Samples
from skelanon.train.samples import random_samples

SAMPLES = random_samples(tracks=4, frames=3, bodies_per_sample=1)


def manifest(*, state_size: int = 0, persona_size: int = 0, tolerance_m: float = 1e-5) -> Manifest:
    return Manifest(
        name="test",
        anonymizer="test",
        bodies_per_sample=1,
        state_size=state_size,
        persona_size=persona_size,
        axes="camera",
        root="model",
        parity_tolerance_m=tolerance_m,
        provenance={"seed": 7},
    )


class Shrink(nn.Module):
    """Half the size, and moved by the persona where there is one."""

    def forward(self, joints: Tensor, persona: Tensor | None = None) -> tuple[Tensor, ...]:
        joints = joints * 0.5
        return (joints if persona is None else joints + persona[:, None, None],)


class Smaller(nn.Module):
    def forward(self, joints: Tensor) -> tuple[Tensor, ...]:
        return (joints * 0.49,)


class Smooth(nn.Module):
    """An exponential mean of the root: a state that goes on changing."""

    def __init__(self, forgotten_in_export: float = 0.0) -> None:
        super().__init__()
        self.forgotten = forgotten_in_export

    def forward(self, joints: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        state = 0.9 * state + 0.1 * joints[:, 0, 0]
        if torch.compiler.is_exporting():
            state = state - self.forgotten
        return joints - state[:, None, None], state


class Broken(nn.Module):
    """Exports another function than it computes."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def forward(self, joints: Tensor) -> tuple[Tensor, ...]:
        return (joints * 0.5 + (self.error if torch.compiler.is_exporting() else 0.0),)


class BrokenFar(nn.Module):
    """Exports another function than it computes for joints beyond 50 m."""

    def forward(self, joints: Tensor) -> tuple[Tensor, ...]:
        far = (joints.abs() > 50).float() if torch.compiler.is_exporting() else 0.0
        return (joints * 0.5 + far,)


class OneSize(nn.Module):
    """Has the batch size of the tracing built in."""

    def forward(self, joints: Tensor) -> tuple[Tensor, ...]:
        return (joints * torch.ones(len(joints), 1, 25, 3),)


class DataDependent(nn.Module):
    def forward(self, joints: Tensor) -> tuple[Tensor, ...]:
        return (joints if bool(joints.sum() > 0) else -joints,)


class WrongShape(nn.Module):
    def forward(self, joints: Tensor) -> tuple[Tensor, ...]:
        return (joints[:, :, :20],)


def test_what_is_written_is_a_bundle_that_runs_like_the_module(tmp_path: Path) -> None:
    bundle = export_bundle(Smooth(), manifest(state_size=3), tmp_path / "bundle.onnx", SAMPLES)
    assert bundle == read_bundle(tmp_path / "bundle.onnx")
    assert bundle.manifest.provenance["seed"] == 7
    assert set(bundle.manifest.provenance["packages"]) == {"torch", "onnx", "onnxscript", "onnx-ir"}
    runner, state = OnnxRuntimeCpu(bundle), torch.zeros(4, 3)
    for frame, joints in enumerate(SAMPLES.joints):
        expected, state = Smooth()(torch.from_numpy(joints), state)
        out = runner.step(range(4), [frame == 0] * 4, joints, SAMPLES.present[frame])
        np.testing.assert_allclose(out, expected.numpy(), rtol=0, atol=1e-6)


def test_what_a_call_returned_is_not_touched_by_the_next(tmp_path: Path) -> None:
    runner = OnnxRuntimeCpu(export_bundle(Smooth(), manifest(state_size=3), tmp_path / "bundle.onnx", SAMPLES))
    joints, present = SAMPLES.joints[0, :1], SAMPLES.present[0, :1]
    first = runner.step([0], [True], joints, present)
    before = first.copy()
    second = runner.step([0], [False], joints, present)
    assert np.array_equal(first, before)
    assert not np.array_equal(first, second)  # its state went on


def test_the_file_holds_the_function_and_nothing_of_where_it_came_from(tmp_path: Path) -> None:
    export_bundle(Shrink(), manifest(persona_size=3), tmp_path / "bundle.onnx", SAMPLES)
    model = onnx.load(tmp_path / "bundle.onnx")
    assert [opset.version for opset in model.opset_import] == [OPSET]
    assert not model.producer_name
    assert not model.graph.value_info
    assert not any(part.doc_string or part.metadata_props for part in (model.graph, *model.graph.node))
    content = (tmp_path / "bundle.onnx").read_bytes()
    assert not re.search(rb"\.py\b|site-packages|/home|/tmp", content)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle.onnx"}


@pytest.mark.parametrize("size", [1, 3, 70])
def test_the_number_of_samples_is_open(size: int, tmp_path: Path) -> None:
    bundle = export_bundle(Shrink(), manifest(), tmp_path / "bundle.onnx", SAMPLES)
    samples = random_samples(tracks=size, frames=1, bodies_per_sample=1)
    out = OnnxRuntimeCpu(bundle).step(range(size), [True] * size, samples.joints[0], samples.present[0])
    assert np.array_equal(out, samples.joints[0] * np.float32(0.5))


@pytest.mark.parametrize(
    ("module", "about", "message"),
    [
        (Broken(1e-3), manifest(), r"`anonymous` .* differ by 0.001, 1e-05 is allowed .* nothing was written"),
        (Broken(float("nan")), manifest(), "`anonymous` .* in what is finite"),
        (Smooth(1e-3), manifest(state_size=3), "differ by 0.001"),
        (nn.Sequential(Shrink()), manifest(state_size=3), "cannot export this module"),
        (DataDependent(), manifest(), "cannot export this module"),
        (WrongShape(), manifest(), r"the graph's outputs are .*20, 3"),
        (OneSize(), manifest(), "cannot export this module|cannot run the exported graph"),
    ],
)
def test_what_does_not_compute_the_same_is_not_written(
    module: nn.Module, about: Manifest, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.onnx"
    path.write_bytes(b"the bundle of yesterday")
    with pytest.raises(BundleError, match=message):
        export_bundle(module, about, path, SAMPLES)
    assert path.read_bytes() == b"the bundle of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_the_tolerance_is_the_manifests(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="parity gate"):
        export_bundle(Broken(1e-4), manifest(tolerance_m=5e-5), tmp_path / "bundle.onnx", SAMPLES)
    export_bundle(Broken(1e-4), manifest(tolerance_m=2e-4), tmp_path / "bundle.onnx", SAMPLES)


def test_what_differs_in_extremes_alone_is_not_written(tmp_path: Path) -> None:
    small = SAMPLES.scaled(1e-3)  # no factor of the gate brings these to 50 m without making the tolerance large
    far = Samples(SAMPLES.joints + np.float32(90), SAMPLES.present)
    export_bundle(BrokenFar(), manifest(tolerance_m=1e-3), tmp_path / "bundle.onnx", small)
    with pytest.raises(BundleError, match="parity gate"):
        export_bundle(BrokenFar(), manifest(tolerance_m=1e-3), tmp_path / "other.onnx", small, extremes=[far])
    assert not (tmp_path / "other.onnx").exists()


def test_a_graph_is_compared_with_the_reference_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="parity gate"):
        export_bundle(Shrink(), manifest(), tmp_path / "bundle.onnx", SAMPLES, reference=Smaller())
    export_bundle(Smaller(), manifest(), tmp_path / "bundle.onnx", SAMPLES, reference=Smaller())


def test_a_manifest_from_before_there_was_a_precision_is_float32() -> None:
    fields = msgspec.json.decode(manifest_to_json(manifest()))
    del fields["precision"]
    assert manifest_from_json(msgspec.json.encode(fields).decode()).precision == "float32"


def test_a_folder_that_is_not_there_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot write the bundle: No such file or directory"):
        export_bundle(Shrink(), manifest(), tmp_path / "missing" / "bundle.onnx", SAMPLES)


def test_exporting_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    levels = [logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    export_bundle(Shrink(), manifest(), tmp_path / "bundle.onnx", SAMPLES)
    assert capfd.readouterr() == ("", "")
    assert levels == [logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")]


SCRIPT = """
import sys
from skelanon.export.exporter import export_bundle
from skelanon.export.manifest import Manifest
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.anonymizers.residual import ResidualMlp
from skelanon.train.samples import random_samples
import torch
torch.manual_seed(0)
about = Manifest(name="mlp", anonymizer="residual", bodies_per_sample=2, state_size=10, axes="camera", root="model",
                 parity_tolerance_m=1e-5)
samples = random_samples(tracks=2, frames=2, bodies_per_sample=2)
export_bundle(Normalised(ResidualMlp(2), 2, "camera"), about, sys.argv[1], samples)
"""


def test_two_exports_in_two_processes_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    processes = [
        subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for path in paths
    ]
    for process in processes:
        output, _ = process.communicate(timeout=100)
        assert (process.returncode, output) == (0, b"")
    first, second = (path.read_bytes() for path in paths)
    assert first == second
