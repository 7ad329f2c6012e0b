"""Reliability: how often what a model says happens, by how sure it says it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.bootstrap import user_intervals
from trainer.metrics import top_k_credit

BINS = 15  # as many as the calibration errors of trainer.metrics have


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width with any row in them, in ascending order; # [bins] each.

    Attributes
    ----------
    said
        Mean probability.
    happened
        Share of the rows in which it came true.
    low, high
        95 % interval of that share, from the bootstrap over users.
    rows
        How many.
    """

    said: NDArray[np.float64]
    happened: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rows: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Mean distance of the two over the rows: the expected calibration error."""
        distance = np.abs(self.said - self.happened)
        return float((self.rows * distance).sum() / max(int(self.rows.sum()), 1))


def reliability(chances: NDArray, truths: NDArray, users: NDArray, bins: int = BINS) -> Reliability:
    """Bin probabilities beside what came of them.

    Parameters
    ----------
    chances
        # [rows], between 0 and 1
    truths
        # [rows], 1 where it came true, 0 where it did not, a part of 1 for one of several ties
    users
        # [rows], whose row it is
    bins
        Of equal width.

    Examples
    --------
    >>> found = reliability(np.array([0.2, 0.2, 0.9]), np.array([0, 1, 1]), np.arange(3), bins=2)
    >>> found.said.tolist(), found.happened.tolist(), found.rows.tolist()
    ([0.2, 0.9], [0.5, 1.0], [2, 1])
    """
    chances = chances.astype(np.float64)
    truths = truths.astype(np.float64)
    place = np.minimum((chances * bins).astype(np.int64), bins - 1)
    rows = np.bincount(place, minlength=bins)
    filled = np.flatnonzero(rows)
    ends = np.array(
        [user_intervals({"_": truths[place == b]}, users[place == b])["_"] for b in filled]
    ).reshape(-1, 2)
    return Reliability(
        said=np.bincount(place, weights=chances, minlength=bins)[filled] / rows[filled],
        happened=np.bincount(place, weights=truths, minlength=bins)[filled] / rows[filled],
        low=ends[:, 0],
        high=ends[:, 1],
        rows=rows[filled],
    )


def quantile_reliability(
    quantiles: NDArray, waits: NDArray, watched: NDArray, users: NDArray, levels: Sequence[float]
) -> Reliability:
    """How often the wait was over by each quantile, beside the quantile's level.

    Counted at a level are the rows that were watched to its quantile: which these are depends on
    what was predicted and on when one asked, and not on the wait.

    Parameters
    ----------
    quantiles
        # [rows, levels], seconds
    waits, watched
        # [rows], seconds; a wait of as much as was watched was not seen to its end
    users
        # [rows]
    levels
        # [levels]
    """
    said, happened, ends, rows = [], [], [], []
    for place, level in enumerate(levels):
        told = watched > quantiles[:, place]
        if not told.any():
            continue
        over = (waits[told] <= quantiles[told, place]).astype(np.float64)
        said.append(level)
        happened.append(float(over.mean()))
        ends.append(user_intervals({"_": over}, users[told])["_"])
        rows.append(int(told.sum()))
    low, high = np.array(ends).reshape(-1, 2).T
    return Reliability(np.array(said), np.array(happened), low, high, np.array(rows, dtype=int))


def top_reliability(probabilities: NDArray, labels: NDArray, users: NDArray) -> Reliability:
    """Reliability of the most probable state; # [rows, states], and # [rows] each."""
    return reliability(probabilities.max(axis=1), top_k_credit(probabilities, labels, 1), users)
