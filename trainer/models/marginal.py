"""Marginal: every prediction is the training part's share of each next state."""

from __future__ import annotations

from typing import Any, Self

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

    def __init__(self, counts: NDArray | None = None, prior: float = 1.0) -> None:
        super().__init__(counts, prior)
        self.horizons: tuple[str, ...] = ()
        self.converted: NDArray[np.float64] = np.zeros(0)  # [horizons], shares of the rows

    def fit(self, training: Training) -> None:
        """Count next states at event instants, and conversions at all instants."""
        self.counts = training.label_counts
        self.horizons = training.horizons
        self.converted = training.converted
        self.waits = training.waits[None] if len(training.waits) else self.waits

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The same row for everyone; # [rows, states]."""
        return np.tile(self.probabilities, (len(examples), 1))

    def predict_conversion(self, examples: Examples) -> NDArray[np.float64]:
        """The same shares for everyone; # [rows, horizons]."""
        return np.tile(self.converted, (len(examples), 1))

    def predict_next_time(self, examples: Examples) -> NDArray[np.float64]:
        """The quantiles at event instants of the training part, in seconds; # [rows, levels]."""
        return np.tile(self.waits, (len(examples), 1))

    def to_json(self) -> dict[str, Any]:
        """The counts, and the share of conversions by horizon."""
        shares = dict(zip(self.horizons, self.converted.tolist(), strict=True))
        return {**super().to_json(), "converted": shares}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        model = super().from_json(content)
        model.horizons = tuple(content["converted"])
        model.converted = np.array(list(content["converted"].values()), dtype=np.float64)
        return model
