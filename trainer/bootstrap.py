"""Confidence intervals by a bootstrap over users: one user's rows are not independent draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 0.025, 0.975
_MOST, _FEWEST = 1000, 200  # resamples; the more users, the fewer are needed
_DRAWS = 5_000_000  # weights held at a time


def user_intervals(
    values: Mapping[str, NDArray], users: NDArray, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of means over rows, when the users are drawn anew with replacement.

    Parameters
    ----------
    values
        Named values of the rows; # [rows] each
    users
        # [rows], whose row it is
    seed
        Of the draws: the same rows give the same intervals, and two models on them share the draws.

    Returns
    -------
    intervals
        ``{name: (low, high)}``

    Examples
    --------
    >>> user_intervals({"loss": np.array([1.0, 3.0])}, np.array(["a", "a"]))
    {'loss': (2.0, 2.0)}
    """
    _, inverse, counts = np.unique(users, return_inverse=True, return_counts=True)
    n_users = len(counts)
    sums = np.column_stack(
        [np.bincount(inverse, weights=value.astype(np.float64)) for value in values.values()]
    )
    resamples = int(np.clip(_DRAWS // n_users, _FEWEST, _MOST))
    block = max(_DRAWS // n_users, 1)
    random = np.random.default_rng(seed)
    chances = np.full(n_users, 1 / n_users)
    means = []
    for begin in range(0, resamples, block):
        drawn = random.multinomial(n_users, chances, size=min(block, resamples - begin))
        means.append((drawn @ sums) / (drawn @ counts)[:, None])
    low, high = np.quantile(np.concatenate(means), [LOW, HIGH], axis=0)
    return {name: (float(low[place]), float(high[place])) for place, name in enumerate(values)}
