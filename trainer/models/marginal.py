"""Marginal: every prediction is the training part's share of each next state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.models.base import Training, smoothed
from trainer.models.counts import CountingModel


class Marginal(CountingModel):
    """The prior: what is known before anything is known of a user."""

    name = "marginal"
    SHAPE = (0,)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each next state; # [states]."""
        return smoothed(self.counts, self.prior)

    def fit(self, training: Training) -> None:
        """Count the labels of the whole training part, at event instants."""
        self.counts = training.label_counts

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The same row for everyone; # [rows, states]."""
        return np.tile(self.probabilities, (len(examples), 1))
