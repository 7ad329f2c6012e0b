"""Metrics of a full ranking. Tied scores count by expectation over their orders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.ranking.arrays import Codes

CUTOFFS = (5, 10, 20)


@dataclass(frozen=True)
class Ranks:
    """Where targets stand; # [rows] each.

    Attributes
    ----------
    higher
        Values that score higher than the target.
    tied
        Values that score as high, itself included; 0 where the target is not in the catalogue,
        which is a miss.
    """

    higher: Codes
    tied: Codes

    def take(self, rows: NDArray) -> Ranks:
        """The rows that a mask chooses."""
        return Ranks(self.higher[rows], self.tied[rows])


def ranks(scores: NDArray, targets: Codes, known: Codes) -> Ranks:
    """Rank targets among the values of each row's catalogue.

    Parameters
    ----------
    scores
        # [rows, values]
    targets
        # [rows]; -1 for none
    known
        # [rows], the catalogue is the values below
    """
    inside = np.arange(scores.shape[1]) < known[:, None]
    reachable = (targets >= 0) & (targets < known)
    own = np.take_along_axis(scores, np.where(reachable, targets, 0)[:, None], axis=1)
    higher = ((scores > own) & inside).sum(axis=1)
    tied = ((scores == own) & inside).sum(axis=1)
    return Ranks(np.where(reachable, higher, 0), np.where(reachable, tied, 0))


def hit_rate(found: Ranks, k: int) -> NDArray[np.float64]:
    """Chance that the target is among the k highest; # [rows]."""
    return _expected(found, np.ones(k))


def reciprocal_rank(found: Ranks, k: int) -> NDArray[np.float64]:
    """1 / rank where that is at most k; # [rows]."""
    return _expected(found, 1.0 / np.arange(1, k + 1))


def discounted_gain(found: Ranks, k: int) -> NDArray[np.float64]:
    """1 / log2(1 + rank) where the rank is at most k: NDCG of one relevant value; # [rows]."""
    return _expected(found, 1.0 / np.log2(np.arange(2, k + 2)))


def all_metrics(found: Ranks) -> dict[str, NDArray[np.float64]]:
    """Every metric at every cutoff: ``hr_10``, ``ndcg_10``, ``mrr_10``, ...; # [rows] each."""
    kinds = {"hr": hit_rate, "ndcg": discounted_gain, "mrr": reciprocal_rank}
    return {f"{name}_{k}": metric(found, k) for k in CUTOFFS for name, metric in kinds.items()}


def _expected(found: Ranks, gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean gain over the places that the tied values share."""
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    begin = np.minimum(found.higher, len(gains))
    end = np.minimum(found.higher + found.tied, len(gains))
    return np.where(found.tied > 0, (sums[end] - sums[begin]) / np.maximum(found.tied, 1), 0.0)


class Coverage:
    """Expected share of the catalogue that is among the k highest of any row.

    Parameters
    ----------
    values
        Of the log.
    """

    def __init__(self, values: int) -> None:
        # Chance that a value was among none so far, the rows' ties being broken apart.
        self._missed = {k: np.ones(values) for k in CUTOFFS}

    def add(self, scores: NDArray, known: Codes) -> None:
        """Take in rows; see :func:`ranks`."""
        size = scores.shape[1]
        inside = np.arange(size) < known[:, None]
        masked = np.where(inside, scores, -np.inf)
        borders = [size - k for k in CUTOFFS if k < size]
        ordered = np.partition(masked, borders, axis=1) if borders else masked
        for k, missed in self._missed.items():
            if k >= size:
                missed *= np.prod(1.0 - inside, axis=0)
                continue
            border = ordered[:, size - k, None]
            above, level = masked > border, (masked == border) & inside
            places = k - above.sum(axis=1, keepdims=True)
            share = np.clip(places / np.maximum(level.sum(axis=1, keepdims=True), 1), 0.0, 1.0)
            missed *= np.prod(1.0 - (above + level * share) * inside, axis=0)

    def shares(self, known: int) -> dict[str, float]:
        """``coverage_<k>`` of a catalogue of so many values."""
        return {
            f"coverage_{k}": float((1.0 - missed[:known]).mean()) if known else float("nan")
            for k, missed in self._missed.items()
        }
