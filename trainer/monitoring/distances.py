"""How far apart two histograms are, and how far they would be by chance alone.

Notes
-----
The population stability index is the sum over bins of ``(p - q) ln(p / q)``: Jeffreys' divergence
(Jeffreys 1946). The Jensen-Shannon divergence (Lin 1991) is in bits, from 0 to 1. An empty bin
would make the index infinite, so each side gets one row more, spread over the bins as the rows of
both together are: a bin that is empty on both sides then adds nothing, and a rare one little.

Of two samples of one distribution neither is 0. With ``n`` and ``m`` independent rows in ``B``
bins, both are near to multiples of Pearson's statistic: the index over ``1/n + 1/m`` is nearly
chi-square with ``B - 1`` degrees of freedom (Yurdakul 2018, "Statistical properties of population
stability index"), and so is eight times the divergence in nats. Where bins are rare the index has
a far heavier tail than that, and the divergence has not: what is chance is judged by the
divergence, how far things moved by either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EXTRA = 1.0  # rows that each side gets
_BITS = 8 * float(np.log(2))  # the stability index over the divergence, of histograms that are near


def smoothed_shares(
    counts: NDArray, others: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the bins on both sides, none of them 0 where either side has a row.

    Parameters
    ----------
    counts, others
        # [bins], rows of each side; neither is empty

    Examples
    --------
    >>> one, other = smoothed_shares(np.array([3, 0]), np.array([0, 3]))
    >>> one.tolist(), other.tolist()
    ([0.875, 0.125], [0.125, 0.875])
    """
    together = (counts + others) / (counts.sum() + others.sum())
    return (
        (counts + _EXTRA * together) / (counts.sum() + _EXTRA),
        (others + _EXTRA * together) / (others.sum() + _EXTRA),
    )


def population_stability(p: NDArray, q: NDArray) -> float:
    """Population stability index of two distributions over the same bins; infinite at an empty one.

    Examples
    --------
    >>> round(population_stability(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 4)
    0.2747
    """
    used = (p > 0) | (q > 0)
    p, q = p[used], q[used]
    if ((p == 0) | (q == 0)).any():
        return float("inf")
    return float(((p - q) * np.log(p / q)).sum())


def jensen_shannon(p: NDArray, q: NDArray) -> float:
    """Jensen-Shannon divergence of two distributions over the same bins, in bits.

    Examples
    --------
    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    middle = (p + q) / 2

    def to_middle(side: NDArray) -> float:
        there = side > 0
        return float((side[there] * np.log2(side[there] / middle[there])).sum())

    return (to_middle(p) + to_middle(q)) / 2


def compare(counts: NDArray, others: NDArray) -> tuple[float, float]:
    """Stability index and divergence of two histograms, smoothed; # [bins] each."""
    shares = smoothed_shares(counts, others)
    return population_stability(*shares), jensen_shannon(*shares)


def by_chance(bins: int, rows: int, others: int) -> float:
    """Mean of the divergence, in bits, of two samples of one distribution."""
    return max(bins - 1, 0) * (1 / rows + 1 / others) / _BITS


def largest_by_chance(
    bins: int, rows: int, others: int, chance: float, shift: float = 0.0
) -> float:
    """The divergence, in bits, that two samples exceed with a given chance.

    Parameters
    ----------
    bins
        With a row on either side.
    rows, others
        Independent rows of the two samples.
    chance
        How often it may be exceeded.
    shift
        Divergence, in bits, of what they are samples of; 0 is one distribution.
    """
    if bins < 2:
        return 0.0
    from scipy.stats import chi2, ncx2

    unit = (1 / rows + 1 / others) / _BITS
    if shift <= 0:
        return float(chi2.ppf(1 - chance, bins - 1) * unit)
    return float(ncx2.ppf(1 - chance, bins - 1, shift / unit) * unit)
