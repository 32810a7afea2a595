"""The residual networks and the public checkpoint."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from skelanon.sensors.joints import JOINTS
from skelanon.train.anonymizers.residual import BLOCKS, ResidualBlocks, ResidualMlp, load_reference_checkpoint
from skelanon.train.errors import CheckpointError


@pytest.mark.parametrize("bodies", [1, 2])
def test_the_improved_form_starts_as_the_identity_and_can_move_both_ways(bodies: Literal[1, 2]) -> None:
    x = torch.randn(50, bodies * 75, generator=torch.Generator().manual_seed(0))
    network = ResidualMlp(bodies)
    assert torch.equal(network(x), x)
    torch.nn.init.normal_(network.fc2.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    moved = network(x) - x
    assert (moved > 0).any()
    assert (moved < 0).any()


def test_the_public_form_only_moves_towards_positive_axes() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 150)
    moved = ResidualBlocks(2)(x) - x
    assert (moved >= 0).all()
    assert (moved > 0.01).any()


def test_reference_checkpoint_computes_what_the_public_code_computes(reference: Path) -> None:
    expected = np.load(reference / "ntu_expected.npz")
    network = load_reference_checkpoint(reference / "pretrained_resnet.pt")
    rows = torch.from_numpy(expected["normalised"].transpose(0, 2, 4, 3, 1).reshape(-1, 150))  # (N * T, M * V * C)
    with torch.inference_mode():
        out = network(rows).reshape(10, 300, 2, 25, 3).permute(0, 4, 1, 3, 2)  # (N, C, T, V, M)
    np.testing.assert_allclose(out.numpy(), expected["anonymised"], rtol=0, atol=1e-4)


def public_weights(bodies: int, seed: int = 0) -> dict[str, Tensor]:
    """Weights as the public code stores them."""
    generator = torch.Generator().manual_seed(seed)
    size = bodies * 75
    return {
        f"res_blocks.{block}.fc{layer}.{kind}": torch.randn(shape, generator=generator) * 0.02
        for block in range(BLOCKS)
        for layer in (1, 2)
        for kind, shape in (("weight", (size, size)), ("bias", (size,)))
    }


@pytest.mark.parametrize("bodies", [1, 2])
def test_a_checkpoint_of_the_public_form_is_loaded_in_its_feature_order(bodies: int, tmp_path: Path) -> None:
    weights = public_weights(bodies)
    torch.save(weights, tmp_path / "checkpoint.pt")
    network = load_reference_checkpoint(tmp_path / "checkpoint.pt")
    clip = torch.randn(7, 3, JOINTS, bodies, generator=torch.Generator().manual_seed(1))  # (T, C, V, M)
    x = clip.flatten(1)  # feature c * V * M + v * M + m
    for block in range(BLOCKS):
        w1, b1, w2, b2 = (weights[f"res_blocks.{block}.fc{n}.{k}"] for n in (1, 2) for k in ("weight", "bias"))
        x = x + torch.relu(torch.relu(x @ w1.T + b1) @ w2.T + b2)
    ours = network(clip.permute(0, 3, 2, 1).flatten(1)).reshape(7, bodies, JOINTS, 3).permute(0, 3, 2, 1)
    torch.testing.assert_close(ours, x.reshape(clip.shape), atol=1e-5, rtol=1e-5)


def without_one(weights: dict[str, Tensor]) -> object:
    del weights["res_blocks.9.fc2.bias"]
    return weights


def wider(weights: dict[str, Tensor]) -> object:
    weights["res_blocks.3.fc1.weight"] = torch.zeros(150, 149)
    return weights


def smaller(weights: dict[str, Tensor]) -> object:
    weights["res_blocks.3.fc1.bias"] = torch.zeros(75)
    return weights


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without_one, "and nothing else"),
        (lambda w: w | {"extra": torch.zeros(150)}, "and nothing else"),
        (wider, "and nothing else"),
        (smaller, "and nothing else"),
        (lambda w: {"res_blocks.0.fc1.bias": torch.zeros(60)}, r"has 60 numbers, not one of \[75, 150\]"),
        (lambda w: {}, "has 0 numbers"),
        (lambda w: [1, 2], "dictionary of tensors"),
        (lambda w: {"res_blocks.0.fc1.bias": 1}, "dictionary of tensors"),
        (lambda w: Path, "plain weights"),
    ],
)
def test_another_checkpoint_is_refused(content: Callable[[Any], object], message: str, tmp_path: Path) -> None:
    torch.save(content(public_weights(2)), tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=message):
        load_reference_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", bytes(range(256)) * 20])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a checkpoint of plain weights"):
        load_reference_checkpoint(tmp_path / "checkpoint.pt")


def test_an_archive_of_something_else_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(CheckpointError, match="not a checkpoint of plain weights"):
        load_reference_checkpoint(tmp_path / "archive.pt")
    with pytest.raises(CheckpointError, match="cannot read the checkpoint: No such file"):
        load_reference_checkpoint(tmp_path / "missing.pt")
