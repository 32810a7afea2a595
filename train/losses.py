"""The terms of the paper's objective. "Anonymization for Skeleton Action Recognition", arXiv 2111.15129, section 3."""

from typing import Literal

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Mean Shannon entropy, in nats, of the predictions of (N, classes) logits: log(classes) where nothing is told."""
    log_probability = logits.float().log_softmax(1)
    return -(log_probability.exp() * log_probability).sum(1).mean()


def kl_to_prior(logits: Tensor, prior: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence KL(prediction || prior), in nats; prior: (classes,), a distribution without 0.

    Zero where each prediction is the prior itself. With unequal classes entropy asks for another, worse answer: one
    that tells a rare class more often than it is there.
    """
    log_probability = logits.float().log_softmax(1)
    return (log_probability.exp() * (log_probability - prior.log())).sum(1).mean()


def kl_from_prior(logits: Tensor, prior: Tensor) -> Tensor:
    """Mean divergence KL(prior || prediction), in nats: a prediction that is sure of itself is dear, right or wrong."""
    return (prior * (prior.log() - logits.float().log_softmax(1))).sum(1).mean()


def distance(raw: Tensor, anonymous: Tensor, present: Tensor, reduction: Literal["masked", "reference"]) -> Tensor:
    """Mean squared difference of coordinates, in square metres: ||x - f(x)||^2 as both public code bases reduce it.

    raw, anonymous: (N, T, P, 25, 3). present: (N, T, P), 1 where a body is there. `masked` is the mean over the bodies
    that are there; `reference` that over all elements, of absent bodies too.
    """
    squared = (raw - anonymous).float().square()
    if reduction == "reference":
        return squared.mean()
    return (squared.mean((3, 4)) * present).sum() / present.sum().clamp_min(1.0)


def prior_of(targets: Tensor, classes: int) -> Tensor:
    """(classes,) float32: how often each class stands in (N,) class numbers; every class must."""
    counts = torch.bincount(targets, minlength=classes).float()
    return counts / counts.sum()
