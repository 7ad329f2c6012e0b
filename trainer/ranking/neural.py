"""Tied embeddings: a softmax over the trained values, asked by the user's last ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.ranking.arrays import Codes
from trainer.ranking.rows import RankingRows

LAST = 20  # values of a user's own that ask
DIGITS = 6  # kept of each weight, so that what is written is what was fitted


def last_values(rows: RankingRows, trained: int) -> Codes:
    """The user's last values, oldest first, from 1; 0 for none or one not trained; # [rows, 20]."""
    log = rows.history
    if not len(log):
        return np.zeros((len(rows), LAST), dtype=np.int64)
    places = rows.ends[:, None] - np.arange(LAST, 0, -1)
    codes = np.where(places >= rows.first[:, None], log.codes[np.maximum(places, 0)], -1)
    return np.where((codes >= 0) & (codes < trained), codes + 1, 0)


@dataclass(frozen=True)
class TiedEmbeddings:
    """The same vector stands for a value where it asks and where it is asked for.

    Attributes
    ----------
    vectors, bias
        # [trained values, width], # [trained values]
    decay
        # [20], weight of each of the last values, before a softmax over those there are
    query, query_bias
        # [width, width], # [width], from the weighed vectors to what is asked
    """

    vectors: NDArray[np.float64]
    bias: NDArray[np.float64]
    decay: NDArray[np.float64]
    query: NDArray[np.float64]
    query_bias: NDArray[np.float64]

    def probabilities(self, rows: RankingRows) -> NDArray[np.float64]:
        """Probability of each trained value; # [rows, trained values].

        0 for a value that is not known at the instant, and everywhere for a user without a trained
        value among his last.
        """
        trained = len(self.bias)
        last = last_values(rows, trained)
        there = last > 0
        weights = np.where(there, np.exp(self.decay), 0.0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        padded = np.vstack([np.zeros((1, self.vectors.shape[1])), self.vectors])
        bag = np.einsum("rl,rlw->rw", weights, padded[last])
        logits = (bag @ self.query + self.query_bias) @ self.vectors.T + self.bias
        logits = np.where(np.arange(trained) < rows.known[:, None], logits, -np.inf)
        best = logits.max(axis=1, keepdims=True) if trained else np.zeros((len(rows), 1))
        powers = np.exp(logits - np.where(np.isfinite(best), best, 0.0))
        shares = powers / np.maximum(powers.sum(axis=1, keepdims=True), 1e-300)
        return np.where(there.any(axis=1, keepdims=True), shares, 0.0)

    def to_json(self) -> dict[str, Any]:
        """The weights as plain values."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TiedEmbeddings:
        """What :meth:`to_json` described."""
        return cls(**{name: np.array(value, dtype=np.float64) for name, value in content.items()})
