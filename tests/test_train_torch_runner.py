"""A module in torch, run as the node runs its bundle."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.export.bundle import default_bundle_path, read_bundle  # noqa: E402
from skelanon.export.errors import RunnerError  # noqa: E402
from skelanon.export.ort_cpu import OnnxRuntimeCpu  # noqa: E402
from skelanon.export.timing import check_against  # noqa: E402
from skelanon.train.anonymizers.normalise import Normalised  # noqa: E402
from skelanon.train.anonymizers.residual import load_reference_checkpoint  # noqa: E402
from skelanon.train.anonymizers.template import Template  # noqa: E402
from skelanon.train.torch_runner import TorchRunner  # noqa: E402


def test_it_gives_what_onnx_runtime_gives() -> None:
    bundle = read_bundle(default_bundle_path())
    check_against(TorchRunner(Template("foot_anchored"), bundle), OnnxRuntimeCpu(bundle), bundle)


def test_a_module_with_a_state_too(reference: Path, reference_bundle: Path) -> None:
    bundle = read_bundle(reference_bundle)
    network = load_reference_checkpoint(reference / "pretrained_resnet.pt")
    module = Normalised(network, network.bodies_per_sample, "normalised")
    check_against(TorchRunner(module, bundle), OnnxRuntimeCpu(bundle), bundle)


def test_its_failures_are_runner_errors() -> None:
    bundle = read_bundle(default_bundle_path())
    with pytest.raises(RunnerError, match="torch cannot use the device 'abacus'"):
        TorchRunner(Template("keep"), bundle, device="abacus")
    runner = TorchRunner(Template("keep"), bundle)
    with pytest.raises(RunnerError, match=r"the model call failed in torch \(RuntimeError\)"):
        runner.step([0], [True], np.zeros((1, 1, 25, 2), np.float32), np.ones((1, 1), np.float32))
    runner.close()
    with pytest.raises(RunnerError, match="the runner is closed"):
        runner.step([0], [True], np.zeros((1, 1, 25, 3), np.float32), np.ones((1, 1), np.float32))
