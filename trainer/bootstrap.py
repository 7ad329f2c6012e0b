"""Confidence intervals by a bootstrap over users: one user's rows are not independent draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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


def with_uncertainty(
    values: Mapping[str, float],
    by_row: Mapping[str, NDArray],
    users: NDArray,
    losses: Sequence[NDArray],
) -> dict[str, float | None]:
    """Metrics with what is known of their uncertainty.

    Parameters
    ----------
    values
        Metrics of some rows.
    by_row
        Values of the rows whose means are among them; # [rows] each
    users
        # [rows]
    losses
        The log-loss of each fit's predictions; # [rows] each

    Returns
    -------
    metrics
        Also ``<metric>_low`` and ``_high`` of `by_row`, and with several fits ``seeds`` and
        ``log_loss_seed_std``. What is not finite is None.
    """
    known = dict(values)
    for name, (low, high) in user_intervals(by_row, users).items():
        known |= {f"{name}_low": low, f"{name}_high": high}
    if len(losses) > 1:
        known["seeds"] = float(len(losses))
        known["log_loss_seed_std"] = float(np.std([loss.mean() for loss in losses], ddof=1))
    return {name: value if math.isfinite(value) else None for name, value in known.items()}
