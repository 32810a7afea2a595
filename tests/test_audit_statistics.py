"""Intervals: against other people's numbers, and against what they promise."""

import numpy as np
import pytest

from skelanon.audit.statistics import bootstrap_maximum, bootstrap_r_squared, r_squared, wilson


def test_wilson_is_that_of_the_textbooks() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for right, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(right / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_persons_are_drawn_not_sequences() -> None:
    """Ten persons, half of them always right: as unsure as ten coins, however many sequences each has."""
    right = np.repeat([0.0, 1.0] * 5, 100)[None]
    persons = np.repeat(np.arange(10), 100)
    low, high = bootstrap_maximum(right, persons)
    assert 0.1 <= low <= 0.3
    assert 0.7 <= high <= 0.9
    alone = bootstrap_maximum(right, np.arange(1000))
    assert alone.high - alone.low < 0.08


def test_the_maximum_is_taken_anew_in_each_draw() -> None:
    """Two attackers, each right about other persons: whoever is drawn, one of them does well."""
    first = np.repeat([1.0, 0.0], 50)
    persons = np.arange(100) // 10
    both = bootstrap_maximum(np.stack([first, 1 - first]), persons)
    one = bootstrap_maximum(first[None], persons)
    assert both.low >= 0.5
    assert one.low < 0.4
    assert both.high >= one.high


def test_what_was_found_lies_in_its_interval() -> None:
    """Eight guessers, each of whom calls everybody the same person: of persons drawn anew one of them tells more."""
    persons = np.repeat(np.arange(8), 50)
    guessers = np.stack([persons == one for one in range(8)]).astype(np.float64)
    found = guessers.mean(1).max()
    low, high = bootstrap_maximum(guessers, persons)
    assert low == found == 0.125
    assert high > 0.3


def test_r_squared_of_a_guess_of_the_truth_and_of_worse() -> None:
    truth = np.array([1.6, 1.7, 1.8, 1.9])
    assert r_squared(truth, truth) == 1
    assert r_squared(np.full(4, truth.mean()), truth) == pytest.approx(0)
    assert r_squared(-truth, truth) < 0


def test_the_interval_of_r_squared_holds_it_and_widens_with_fewer_persons() -> None:
    rng = np.random.default_rng(0)
    heights = rng.normal(1.7, 0.1, 40)
    truth = np.repeat(heights, 5)
    estimates = truth + np.repeat(rng.normal(0, 0.05, 40), 5)
    many = bootstrap_r_squared(estimates, truth, np.repeat(np.arange(40), 5))
    assert many.low < r_squared(estimates, truth) < many.high
    few = bootstrap_r_squared(estimates[:40], truth[:40], np.repeat(np.arange(8), 5))
    assert few.high - few.low > many.high - many.low


def test_the_luckiest_of_many_guessers_is_seldom_above_the_interval_for_many() -> None:
    prior, count, guessers = 0.125, 400, 20
    best = np.random.default_rng(0).binomial(count, prior, (4000, guessers)).max(1) / count
    assert 0.005 < np.mean(best > wilson(prior, count, guessers).high) < 0.05
    assert np.mean(best > wilson(prior, count).high) > 0.2
