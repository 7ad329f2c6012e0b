"""What a run costs each user: mechanisms in, epsilon out, and the noise that keeps to a budget.

Notes
-----
Everything that a private run releases of the training users is one of two mechanisms: a sum of
bounded contributions with Gaussian noise, made once over everybody, and steps of DP-SGD, each over
users drawn by a coin of their own (Poisson sampling). The accountants of opacus compose them:
``prv`` by the distribution of the privacy loss (Gopi, Lee and Wutschitz, 2021), ``rdp`` by Renyi
divergences (Mironov, 2017), which is never below the former by more than its numerical error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq
from scipy.stats import norm

from feature_repo.errors import BadInput

Accountant = Literal["prv", "rdp"]
_WIDEST, _NARROWEST = 1e4, 1e-2  # noise multipliers that are searched
_CLOSE = 1e-3  # of the logarithm of a noise multiplier


@dataclass(frozen=True)
class Mechanism:
    """A Gaussian mechanism, repeated.

    Attributes
    ----------
    noise
        Standard deviation of the noise, in units of what one user can add.
    rate
        Chance of a user to take part in one repetition.
    times
        Repetitions.
    """

    noise: float
    rate: float = 1.0
    times: int = 1


def epsilon(mechanisms: Sequence[Mechanism], delta: float, accountant: Accountant = "prv") -> float:
    """The privacy loss of mechanisms that are all applied to the same users.

    Parameters
    ----------
    mechanisms
        What is released.
    delta
        The chance that the loss is greater.
    accountant
        How it is composed.

    Returns
    -------
    epsilon
        An upper bound.

    Examples
    --------
    >>> round(epsilon([Mechanism(noise=1.0)], 1e-5), 1)  # exactly 4.377
    4.4
    """
    from opacus.accountants import create_accountant

    counter = create_accountant(accountant)
    counter.history = [(each.noise, each.rate, each.times) for each in mechanisms if each.times]
    if not counter.history:
        return 0.0
    with warnings.catch_warnings():
        # Of orders at the edge of those that are tried, and of logarithms of 0 that are masked.
        warnings.simplefilter("ignore")
        return float(counter.get_epsilon(delta))


def gaussian_delta(noise: float, epsilon: float) -> float:
    """Delta of one Gaussian mechanism over everybody, exactly.

    Parameters
    ----------
    noise
        Standard deviation, in units of what one user can add.
    epsilon
        The privacy loss.

    References
    ----------
    Balle and Wang (2018), Improving the Gaussian Mechanism, theorem 8.
    """
    half, shift = 0.5 / noise, epsilon * noise
    tail = norm.logcdf(-half - shift)
    return float(norm.cdf(half - shift) - math.exp(min(epsilon + tail, 700.0)))


def gaussian_noise(epsilon: float, delta: float) -> float:
    """The least noise with which one Gaussian mechanism over everybody keeps to a budget."""
    return float(
        brentq(lambda noise: gaussian_delta(noise, epsilon) - delta, _NARROWEST, _WIDEST, xtol=1e-6)
    )


def noise_within(
    budget: float,
    delta: float,
    rate: float,
    steps: int,
    accountant: Accountant,
    beside: Sequence[Mechanism] = (),
) -> float:
    """The least noise of DP-SGD under which a run keeps to its budget.

    Parameters
    ----------
    budget, delta
        The whole run's.
    rate, steps
        Chance of a user to be in a step, and how many steps there are.
    accountant
        How losses are composed.
    beside
        What else the run releases.

    Raises
    ------
    BadInput
        When no noise is enough, because ``beside`` has spent the budget.
    """

    def cost(noise: float) -> float:
        return epsilon([*beside, Mechanism(noise, rate, steps)], delta, accountant)

    low, high = 0.3, 1.0
    while cost(high) > budget:
        low, high = high, high * 2
        if high > _WIDEST:
            raise BadInput(
                f"privacy.epsilon={budget:g} at delta {delta:g} cannot be kept by any noise over "
                f"{steps} steps; take more epsilon, fewer epochs or a smaller privacy.counts"
            )
    while high / low > 1 + _CLOSE:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if cost(middle) <= budget else (middle, high)
    return high
