"""Distances of histograms beside values computed by hand, and what chance makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.monitoring.distances import (
    by_chance,
    compare,
    jensen_shannon,
    largest_by_chance,
    population_stability,
    smoothed_shares,
)

HALVES, QUARTERS = np.array([0.5, 0.5]), np.array([0.25, 0.75])


def test_the_stability_index_by_hand() -> None:
    # .25 ln 2 - .25 ln (2/3) = .25 ln 3
    assert population_stability(HALVES, QUARTERS) == pytest.approx(0.25 * math.log(3), abs=1e-12)
    assert population_stability(QUARTERS, HALVES) == pytest.approx(0.25 * math.log(3), abs=1e-12)
    assert population_stability(HALVES, HALVES) == 0
    # (.7 - .1) ln 7 + (.2 - .3) ln (2/3) + (.1 - .6) ln (1/6)
    three = 0.6 * math.log(7) + 0.1 * math.log(1.5) + 0.5 * math.log(6)
    found = population_stability(np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6]))
    assert found == pytest.approx(three, abs=1e-12)
    assert population_stability(np.array([1.0, 0.0]), HALVES) == math.inf
    assert population_stability(np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.5, 0.0])) == 0


def test_the_divergence_by_hand() -> None:
    # H(.375, .625) - (H(.5, .5) + H(.25, .75)) / 2 in bits
    def entropy(*shares: float) -> float:
        return -sum(p * math.log2(p) for p in shares)

    by_hand = entropy(0.375, 0.625) - (entropy(0.5, 0.5) + entropy(0.25, 0.75)) / 2
    assert jensen_shannon(HALVES, QUARTERS) == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(0.0487949, abs=1e-7)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    # A bin that one side lacks is no infinity: (1 + .5 log2(.5/.75) + .5 log2(.5/.25)) / 2 ...
    half = (math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5) / 2
    assert jensen_shannon(np.array([1.0, 0.0]), HALVES) == pytest.approx(half, abs=1e-12)


def test_an_empty_bin_gets_what_both_sides_have_together_of_one_row() -> None:
    one, other = smoothed_shares(np.array([4, 0, 0]), np.array([2, 2, 0]))
    # Together 6, 2 and 0 of 8: one row more is .75, .25 and 0.
    assert one.tolist() == [4.75 / 5, 0.25 / 5, 0]
    assert other.tolist() == [2.75 / 5, 2.25 / 5, 0]
    psi = (0.95 - 0.55) * math.log(0.95 / 0.55) + (0.05 - 0.45) * math.log(0.05 / 0.45)
    assert compare(np.array([4, 0, 0]), np.array([2, 2, 0]))[0] == pytest.approx(psi, abs=1e-12)


@pytest.mark.parametrize(
    ("shares", "rows", "others"),
    [
        (np.full(10, 0.1), 200, 2000),
        (np.array([0.5, 0.3, 0.15, 0.05]), 100, 300),
    ],
)
def test_chance_alone_makes_what_the_law_says(shares: np.ndarray, rows: int, others: int) -> None:
    random = np.random.default_rng(1)
    draws = [
        compare(random.multinomial(rows, shares), random.multinomial(others, shares))[1]
        for _ in range(3000)
    ]
    # Mean (B - 1)(1/n + 1/m) / (8 ln 2), and 1 % of the draws beyond the quantile of 1 %.
    expected = (len(shares) - 1) * (1 / rows + 1 / others) / (8 * math.log(2))
    assert by_chance(len(shares), rows, others) == pytest.approx(expected)
    assert np.mean(draws) == pytest.approx(expected, rel=0.06)
    beyond = np.mean(np.array(draws) > largest_by_chance(len(shares), rows, others, 0.01))
    assert 0.005 < beyond < 0.017


def test_what_differs_already_is_exceeded_by_chance_around_that_difference() -> None:
    before, now = np.full(5, 0.2), np.array([0.26, 0.2, 0.2, 0.2, 0.14])
    shift = jensen_shannon(now, before)
    random = np.random.default_rng(2)
    draws = [
        compare(random.multinomial(400, now), random.multinomial(4000, before))[1]
        for _ in range(3000)
    ]
    limit = largest_by_chance(5, 400, 4000, 0.05, shift)
    assert 0.03 < np.mean(np.array(draws) > limit) < 0.07
    assert np.mean(np.array(draws) > largest_by_chance(5, 400, 4000, 0.05)) > 0.6


def test_one_bin_alone_is_never_far() -> None:
    assert compare(np.array([7, 0]), np.array([9, 0])) == (0, 0)
    assert largest_by_chance(1, 7, 9, 0.01) == 0
