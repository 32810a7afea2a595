"""How sure a number is."""

from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_LEVEL: Final = 0.05
_DRAWS: Final = 2000


class Interval(NamedTuple):
    """A two-sided interval of 95 %."""

    low: float
    high: float


def wilson(share: float, count: int, of: int = 1) -> Interval:
    """Wilson's interval of a share of `count` independent trials. Wilson, JASA 22 (1927).

    of: as many such shares hold together with 95 %, by Bonferroni; the highest of many is high by luck alone.
    """
    z = NormalDist().inv_cdf(1 - _LEVEL / (2 * of))
    z2 = z**2 / count
    centre = (share + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * ((share * (1 - share) + z2 / 4) / count) ** 0.5
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def bootstrap_maximum(values: Doubles, persons: NDArray[np.int64]) -> Interval:
    """Percentile interval of the largest of several means, persons drawn anew.

    values: (A, n), of A attackers for each of n sequences, such as 1 where right; persons: (n,) whose they are.
    The sequences of one person depend on each other; the interval of sequences drawn one by one would be too narrow.
    The largest of several guessers lies higher among persons drawn anew than among those that are there: the interval
    begins no higher than what was found.
    """
    people, member = np.unique(persons, return_inverse=True)
    counts = np.bincount(member).astype(np.float64)  # (p,)
    sums = np.stack([np.bincount(member, row, len(people)) for row in values])  # (A, p)
    draws = np.random.default_rng(0).multinomial(len(people), np.full(len(people), 1 / len(people)), _DRAWS)
    means = (draws @ sums.T) / (draws @ counts)[:, None]  # (D, A)
    low, high = np.quantile(means.max(1), (0.025, 0.975))
    return Interval(min(float(low), float(values.mean(1).max())), float(high))


def r_squared(estimates: Doubles, truth: Doubles) -> float:
    """Share of the variance that estimates explain; below 0 where the mean would be the better estimate."""
    return float(1 - np.square(truth - estimates).sum() / max(np.square(truth - truth.mean()).sum(), 1e-12))


def bootstrap_r_squared(estimates: Doubles, truth: Doubles, persons: NDArray[np.int64]) -> Interval:
    """Percentile interval of R2, persons drawn anew."""
    people, member = np.unique(persons, return_inverse=True)
    draws = np.random.default_rng(0).multinomial(len(people), np.full(len(people), 1 / len(people)), _DRAWS)
    weights = draws[:, member].astype(np.float64)  # (D, n)
    total = weights.sum(1)
    mean = (weights @ truth) / total
    spread = (weights @ np.square(truth)) / total - mean**2
    error = (weights @ np.square(truth - estimates)) / total
    low, high = np.quantile(1 - error / np.maximum(spread, 1e-12), (0.025, 0.975))
    return Interval(float(low), float(high))
