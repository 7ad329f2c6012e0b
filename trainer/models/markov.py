"""Markov chain of order 1: the population's transitions, read from the transition features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.models.base import Training, smoothed
from trainer.models.counts import CountingModel


class Markov(CountingModel):
    """The next state given the current one, and nothing else.

    The counts are the sum over users of ``transition_counts_all`` in force at ``train_end``, so the
    baseline learns from the same feature that the store serves.

    Examples
    --------
    >>> chain = Markov(np.array([[6, 2, 2], [3, 5, 2], [1, 1, 0]]))
    >>> chain.matrix.shape
    (3, 3)
    """

    name = "markov_1"
    SHAPE = (0, 0)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Probability of each next state (columns) from each state (rows); # [states, states]."""
        return smoothed(self.counts, self.prior)

    def fit(self, training: Training) -> None:
        """Take the population's counts."""
        self.counts = training.transition_counts
        if len(training.waits):
            self.waits = training.waits_by_state

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The row of each user's current state; without history, all rows together."""
        unknown = smoothed(self.counts.sum(axis=0), self.prior)
        rows = np.vstack([self.matrix, unknown])
        return rows[examples.states]  # -1, no history, is the last row

    def predict_next_time(self, examples: Examples) -> NDArray[np.float64]:
        """The training part's quantiles in each user's current state; # [rows, levels], seconds."""
        return self.waits[examples.states]  # -1, no history, is the last row
