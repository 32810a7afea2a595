"""The terms of the objective, against values worked out by hand."""

import math

import pytest
import torch

from skelanon.train.losses import distance, entropy, kl_to_prior, prior_of


def test_entropy_is_that_of_the_predictions_in_nats() -> None:
    probability = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    wanted = (0.5 * math.log(2) + 0.5 * math.log(4) + math.log(3)) / 2
    assert entropy(probability.log() + 7.0).item() == pytest.approx(wanted, rel=1e-6)


def test_entropy_of_a_certain_prediction_is_zero_and_finite_in_its_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    value = entropy(logits)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_kl_to_prior_is_zero_at_the_prior_and_positive_at_equal_shares() -> None:
    prior = prior_of(torch.tensor([0, 0, 0, 1]), 2)
    assert prior.tolist() == [0.75, 0.25]
    assert kl_to_prior(prior.log()[None] + 3.0, prior).item() == pytest.approx(0, abs=1e-6)
    wanted = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert kl_to_prior(torch.zeros(2, 2), prior).item() == pytest.approx(wanted, rel=1e-6)


def test_the_masked_distance_leaves_out_absent_bodies_and_the_reference_does_not() -> None:
    raw = torch.zeros(1, 2, 2, 25, 3)
    anonymous = torch.zeros(1, 2, 2, 25, 3)
    anonymous[:, :, 0] = 0.1
    present = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert distance(raw, anonymous, present, "masked").item() == pytest.approx(0.01)
    assert distance(raw, anonymous, present, "reference").item() == pytest.approx(0.005)
    assert distance(raw, anonymous, present * 0, "masked").item() == 0
