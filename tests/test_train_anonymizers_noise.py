"""The noise baseline: of the standard deviation it says, on bodies that are there, and the same for the same seed."""

import math

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor

from skelanon.train.anonymizers.noise import Noise
from skelanon.train.errors import TrainingError
from skelanon.train.samples import random_samples


def clips() -> tuple[Tensor, Tensor]:
    """40 clips of 25 frames of two bodies, each absent from a quarter."""
    samples = random_samples(tracks=40, frames=25, bodies_per_sample=2)
    return torch.from_numpy(samples.joints).transpose(0, 1), torch.from_numpy(samples.present).transpose(0, 1)


@pytest.mark.parametrize("std_m", [0.001, 0.005, 0.01, 0.02, 0.05, 0.1])
def test_the_standard_deviation_is_true_and_the_same_for_every_coordinate(std_m: float) -> None:
    joints, present = clips()
    noise = ((Noise(std_m, seed=1)(joints, present) - joints)[present > 0]).double()  # (B, V, C)
    bodies = len(noise)
    assert bodies > 1000
    # Standard errors: sigma / sqrt(n) of a mean, sigma / sqrt(2 n) of a standard deviation. Five of them on each of 75.
    assert (noise.mean(0).abs() < 5 * std_m / math.sqrt(bodies)).all()
    assert ((noise.std(0) - std_m).abs() < 5 * std_m / math.sqrt(2 * bodies)).all()
    assert abs(noise.std().item() / std_m - 1) < 5 / math.sqrt(2 * noise.numel())
    # Gaussian: a kurtosis of 3, standard error sqrt(24 / n); independent: joints and coordinates do not go together.
    kurtosis = (noise / noise.std()).pow(4).mean().item()
    assert abs(kurtosis - 3) < 5 * math.sqrt(24 / noise.numel())
    correlation = torch.corrcoef(noise.flatten(1).T) - torch.eye(75)
    assert correlation.abs().max() < 6 / math.sqrt(bodies)


def test_absent_bodies_stay_zeros() -> None:
    joints, present = clips()
    out = Noise(0.1, seed=1)(joints, present)
    assert (present == 0).any()
    assert not out[present == 0].any()
    assert out[present > 0].ne(joints[present > 0]).any(-1).all()


def test_the_seed_decides_and_each_call_goes_on() -> None:
    joints, present = clips()
    noise, again = Noise(0.01, seed=1), Noise(0.01, seed=1)
    first, second = noise(joints, present), noise(joints, present)
    torch.manual_seed(9)
    assert torch.equal(again(joints, present), first)
    assert torch.equal(again(joints, present), second)
    assert not torch.equal(first, second)
    assert not torch.equal(Noise(0.01, seed=2)(joints, present), first)


def test_no_noise_changes_nothing() -> None:
    joints, present = clips()
    assert torch.equal(Noise(0.0, seed=1)(joints, present), joints)


@pytest.mark.parametrize("std_m", [-0.01, math.nan, math.inf])
def test_another_standard_deviation_is_refused(std_m: float) -> None:
    with pytest.raises(TrainingError, match=f"`std_m` is {std_m}: a standard deviation in metres"):
        Noise(std_m, seed=1)
