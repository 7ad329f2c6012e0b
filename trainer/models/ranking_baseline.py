"""What the models of the next item, or category, have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.examples import Examples
from trainer.models.base import TextModel, Training, smoothed
from trainer.ranking.fitting import RankingTraining, fit_backed_off
from trainer.ranking.rankers import BackedOff, Ranker


class RankingBaseline(TextModel):
    """A ranker for each target of the dataset, in one file of text.

    Parameters
    ----------
    rankers
        By target, ``item`` or ``category``.
    prior
        # [states], the answer to who asks for the next action, of which this model knows nothing
    """

    predicts_next_action: ClassVar[bool] = False

    def __init__(
        self, rankers: dict[str, Ranker] | None = None, prior: NDArray[np.float64] | None = None
    ) -> None:
        self.rankers = rankers or {}
        self.prior = np.zeros(0) if prior is None else prior

    def fit(self, training: Training) -> None:
        """Fit a ranker for each target.

        Raises
        ------
        BadInput
            When the dataset has none, or none of them in its training part.
        """
        if not training.rankings:
            raise BadInput(
                f"model={self.name}: no training row says which item or category comes next; "
                "map item_id or category_id in the dataset file"
            )
        self.prior = smoothed(training.label_counts)
        self.rankers = {each.target: self.fit_ranker(each) for each in training.rankings}

    def fit_ranker(self, training: RankingTraining) -> Ranker:
        """The ranker of one target."""
        raise NotImplementedError

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The prior for everyone; # [rows, states]."""
        return np.tile(self.prior, (len(examples), 1))

    def to_json(self) -> dict[str, Any]:
        """The rankers and the prior."""
        rankers = {target: ranker.to_json() for target, ranker in self.rankers.items()}
        return {"rankers": rankers, "prior": self.prior.tolist()}

    @classmethod
    def read_ranker(cls, content: dict[str, Any]) -> Ranker:
        """One ranker of :meth:`to_json`."""
        return BackedOff.from_json(content)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        model = cls()
        model.rankers = {
            target: cls.read_ranker(each) for target, each in content["rankers"].items()
        }
        model.prior = np.array(content["prior"], dtype=np.float64)
        return model


class BackedOffBaseline(RankingBaseline):
    """One part of what counting knows, backed off to recent popularity."""

    part: ClassVar[str | None]  # of trainer.ranking.scoring.PARTS

    def fit_ranker(self, training: RankingTraining) -> Ranker:
        """Choose the popularity behind the part, and how much it counts."""
        return fit_backed_off(training, self.part)
