"""The auto-encoder: its shape, its frozen encoder, its bundle; and every anonymizer made from settings."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import nn

from skelanon.configs.training import AnonymizerSettings
from skelanon.export.bundle import read_bundle
from skelanon.export.exporter import export_bundle
from skelanon.export.manifest import Axes, Manifest
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.train.anonymizers.auto_encoder import AutoEncoder, Form
from skelanon.train.anonymizers.create import create_anonymizer
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.anonymizers.residual import ResidualBlocks, ResidualMlp
from skelanon.train.anonymizers.unet import UNet
from skelanon.train.samples import random_samples


def rows(bodies: int) -> torch.Tensor:
    return torch.randn(200, 75 * bodies, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bodies", [1, 2])
@pytest.mark.parametrize(("form", "inner"), [("paper", [500, 10, 500]), ("code", [500, 100, 10, 100, 500])])
def test_widths_and_where_there_is_a_relu(form: Form, inner: list[int], bodies: Literal[1, 2]) -> None:
    torch.manual_seed(0)
    network = AutoEncoder(bodies, form)
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [75 * bodies, *inner]
    assert [layer.out_features for layer in linear] == [*inner, 75 * bodies]
    out, latent = network(rows(bodies)), network.encoder(rows(bodies))
    assert out.shape == (200, 75 * bodies)
    assert latent.shape == (200, 10)
    assert (out < 0).any()
    assert bool((latent < 0).any()) == (form == "paper")
    relus = sum(isinstance(layer, nn.ReLU) for layer in network.modules())
    assert relus == len(linear) - (2 if form == "paper" else 1)


@pytest.mark.parametrize("form", ["paper", "code"])
def test_a_frozen_encoder_gets_no_gradients_and_stays_as_it_is(form: Form) -> None:
    torch.manual_seed(0)
    network = AutoEncoder(1, form)
    network.freeze_encoder()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(2):
        optimizer.zero_grad()
        (network(rows(1)) - rows(1)).square().mean().backward()
        optimizer.step()
    assert all(weight.grad is None for weight in network.encoder.parameters())
    assert all(weight.grad is not None for weight in network.decoder.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("encoder."), name


@pytest.mark.parametrize("form", ["paper", "code"])
def test_it_learns_to_give_back_what_ten_numbers_can_tell(form: Form) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    poses = torch.randn(512, 3, generator=generator) @ torch.randn(3, 75, generator=generator)
    network = AutoEncoder(1, form)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (network(poses) - poses).square().mean().backward()
        optimizer.step()
    assert (network(poses) - poses).square().mean() < 0.1 * poses.var()


@pytest.mark.parametrize(("form", "bodies", "axes"), [("paper", 1, "normalised"), ("code", 2, "camera")])
def test_its_bundle_run_frame_by_frame_is_the_whole_sequence(
    form: Form, bodies: Literal[1, 2], axes: Axes, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Normalised(AutoEncoder(bodies, form), bodies, axes)
    about = Manifest(
        name="test",
        anonymizer="auto_encoder",
        bodies_per_sample=bodies,
        state_size=model.state_size,
        axes=axes,
        root=model.root,
        parity_tolerance_m=1e-5,
    )
    samples = random_samples(tracks=6, frames=5, bodies_per_sample=bodies, seed=4)
    export_bundle(model, about, tmp_path / "bundle.onnx", samples)
    runner = OnnxRuntimeCpu(read_bundle(tmp_path / "bundle.onnx"))
    frames = [
        runner.step(range(6), [frame == 0] * 6, samples.joints[frame], samples.present[frame]) for frame in range(5)
    ]
    joints, present = (torch.from_numpy(part).transpose(0, 1) for part in (samples.joints, samples.present))
    with torch.inference_mode():
        whole = model.sequence(joints, present).numpy()
    np.testing.assert_allclose(np.stack(frames, 1), whole, rtol=0, atol=1e-5)
    assert whole.any()


SETTINGS = [
    ({"kind": "residual"}, ResidualMlp, 2 * 22_650),
    ({"kind": "residual", "form": "code"}, ResidualBlocks, 453_000),
    ({"kind": "auto_encoder"}, AutoEncoder, 75_500 + 5_010 + 5_500 + 75_150),
    ({"kind": "auto_encoder", "form": "code"}, AutoEncoder, 75_500 + 50_100 + 1_010 + 1_100 + 50_500 + 75_150),
    ({"kind": "unet"}, UNet, 31_037_763),
]
"""For two bodies (150 features), with the parameters that a layer of a to b has: (a + 1) b."""


@pytest.mark.parametrize(("settings", "network", "parameters"), SETTINGS)
def test_settings_make_the_network_that_they_name(
    settings: dict[str, str], network: type[nn.Module], parameters: int
) -> None:
    made = create_anonymizer(AnonymizerSettings.model_validate(settings), 2)
    assert type(made) is network
    assert sum(weight.numel() for weight in made.parameters()) == parameters


def test_a_network_for_one_body_takes_rows_of_one() -> None:
    for kind, form in (
        ("residual", "paper"),
        ("residual", "code"),
        ("auto_encoder", "paper"),
        ("auto_encoder", "code"),
    ):
        network = create_anonymizer(AnonymizerSettings.model_validate({"kind": kind, "form": form}), 1)
        assert network(torch.zeros(4, 75)).shape == (4, 75)
