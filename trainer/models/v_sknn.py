"""V-SKNN: what is done in the most similar past sessions."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.models.base import Training
from trainer.models.ranking_baseline import RankingBaseline
from trainer.ranking.fitting import RankingTraining, fit_backed_off
from trainer.ranking.neighbours import Neighbours
from trainer.ranking.rankers import Ranker


class VSknn(RankingBaseline):
    """Vector multiplication session nearest neighbours; see :mod:`trainer.ranking.neighbours`."""

    name = "v_sknn"
    _gap: np.timedelta64 = np.timedelta64(0, "us")

    def fit(self, training: Training) -> None:
        """Choose the popularity behind the neighbours."""
        self._gap = training.session_gap
        super().fit(training)

    def fit_ranker(self, training: RankingTraining) -> Ranker:
        """Neighbours by the dataset's sessions."""
        return Neighbours(self._gap, fit_backed_off(training, None))

    @classmethod
    def read_ranker(cls, content: dict[str, Any]) -> Ranker:
        """One ranker of :meth:`to_json`."""
        return Neighbours.from_json(content)
