"""Recent popularity: the shares of the next states in the last days of the training part."""

from __future__ import annotations

import numpy as np

from trainer.models.base import Training
from trainer.models.marginal import Marginal

RECENT = np.timedelta64(30, "D")


class RecentPopularity(Marginal):
    """The marginal of what has been going on lately."""

    name = "recent_popularity"

    def fit(self, training: Training) -> None:
        """Count the next states at event instants of the last 30 days of the training part."""
        super().fit(training)
        examples = training.examples
        events = ~examples.landmarks & (examples.labels >= 0)
        recent = events & (examples.instants > examples.instants[events].max() - RECENT)
        self.counts = np.bincount(examples.labels[recent], minlength=len(training.states))
