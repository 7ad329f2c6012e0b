"""Item mixture: all that counting knows, weighed for each row by a small gate."""

from __future__ import annotations

from typing import Any

from trainer.config import FitConfig
from trainer.models.ranking_baseline import RankingBaseline
from trainer.ranking.fitting import RankingTraining, fit_mixture
from trainer.ranking.rankers import Mixture, Ranker


class ItemMixture(RankingBaseline):
    """The head of the sequence model's next item without the network.

    Parameters
    ----------
    config
        The fit's configuration, of which the seed and ``ranking`` count.
    """

    name = "item_mixture"

    def __init__(self, config: FitConfig | None = None) -> None:
        super().__init__()
        self.config = FitConfig() if config is None else config

    def fit_ranker(self, training: RankingTraining) -> Ranker:
        """Train the gate, and the embeddings where they are asked for."""
        return fit_mixture(training, self.config)

    @classmethod
    def read_ranker(cls, content: dict[str, Any]) -> Ranker:
        """One ranker of :meth:`to_json`."""
        return Mixture.from_json(content)
