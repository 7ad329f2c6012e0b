"""What a run costs: closed forms, a published figure, and noise that keeps to a budget."""

from __future__ import annotations

import math

import pytest

from feature_repo.errors import BadInput
from trainer.private.accounting import (
    Mechanism,
    epsilon,
    gaussian_delta,
    gaussian_noise,
    noise_within,
)

DELTA = 1e-5


def normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def exact_epsilon(noise: float, delta: float) -> float:
    """Of one Gaussian mechanism, by bisection of the formula of Balle and Wang (2018)."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        own = normal(0.5 / noise - middle * noise) - math.exp(middle) * normal(
            -0.5 / noise - middle * noise
        )
        low, high = (middle, high) if own > delta else (low, middle)
    return high


@pytest.mark.parametrize(("noise", "times"), [(1.0, 1), (4.0, 1), (20.0, 100)])
def test_the_gaussian_mechanism_costs_what_its_closed_form_says(noise: float, times: int) -> None:
    # A mechanism repeated n times over everybody is exactly one of noise / sqrt(n).
    exact = exact_epsilon(noise / math.sqrt(times), DELTA)
    found = epsilon([Mechanism(noise, 1.0, times)], DELTA, "prv")
    assert exact <= found <= exact + 0.021  # an upper bound, within twice the accountant's error
    assert exact <= epsilon([Mechanism(noise, 1.0, times)], DELTA, "rdp") <= 1.1 * exact


def test_a_published_figure_is_kept() -> None:
    # Abadi et al. (2016), section 5: rate .01, noise 4, 10,000 steps, delta 1e-5 cost 1.26 by the
    # moments accountant, of which later accountants spare up to a quarter.
    mechanism = [Mechanism(4.0, 0.01, 10_000)]
    prv, rdp = epsilon(mechanism, DELTA, "prv"), epsilon(mechanism, DELTA, "rdp")
    assert 0.75 * 1.26 < prv < rdp < 1.26


def test_half_the_users_cost_less_and_nothing_costs_nothing() -> None:
    whole = epsilon([Mechanism(1.0, 1.0, 10)], DELTA)
    assert epsilon([Mechanism(1.0, 0.5, 10)], DELTA) < whole
    assert epsilon([], DELTA) == 0 == epsilon([Mechanism(1.0, 1.0, 0)], DELTA)


def test_delta_and_noise_of_the_exact_mechanism_are_inverse() -> None:
    noise = gaussian_noise(1.0, DELTA)
    assert gaussian_delta(noise, 1.0) == pytest.approx(DELTA, rel=1e-3)
    assert exact_epsilon(noise, DELTA) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_noise_spends_the_budget_and_no_more(accountant: str) -> None:
    beside = [Mechanism(gaussian_noise(3.0, DELTA) / math.sqrt(0.2))]
    noise = noise_within(3.0, DELTA, 0.25, 80, accountant, beside)  # type: ignore[arg-type]
    spent = epsilon([*beside, Mechanism(noise, 0.25, 80)], DELTA, accountant)  # type: ignore[arg-type]
    assert 2.9 < spent <= 3.0


def test_a_budget_that_is_spent_already_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be kept by any noise"):
        noise_within(1.0, DELTA, 0.25, 80, "rdp", [Mechanism(0.5)])
