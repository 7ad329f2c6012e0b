"""Marginal: every prediction is the training part's share of each next state."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.models.base import Training, read_json, smoothed, write_json


class Marginal:
    """The prior: what is known before anything is known of a user."""

    name = "marginal"
    FILE = "marginal.json"

    def __init__(self, counts: NDArray | None = None, prior: float = 1.0) -> None:
        self.counts = np.zeros(0, dtype=np.int64) if counts is None else np.asarray(counts)
        self.prior = prior

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

    def save(self, folder: Path) -> None:
        """Write ``marginal.json``."""
        content = {"prior": self.prior, "counts": self.counts.tolist()}
        write_json(folder / self.FILE, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``marginal.json``."""
        content = read_json(folder / cls.FILE)
        return cls(np.array(content["counts"]), content["prior"])
