"""Column: one feature alone as a score, made a probability by the shares within its bins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer import metrics
from trainer.config import ColumnConfig
from trainer.examples import Examples
from trainer.features import Feature
from trainer.models.base import TextModel, Training
from trainer.models.binned import Binned
from trainer.user_rows import without_leave_twice

Loss = Callable[[NDArray, NDArray], float]


class Column(TextModel):
    """One feature for the next action, and one for each horizon of conversion.

    Parameters
    ----------
    config
        Which feature, and how many bins.
    features
        The features to choose from; without a name, held-out rows choose.
    """

    name = "column"

    def __init__(self, config: ColumnConfig, features: Sequence[Feature] = ()) -> None:
        self.config = config
        self.features = tuple(features)
        self.horizons: tuple[str, ...] = ()
        self.next_action: Binned | None = None
        self.conversions: list[Binned] = []

    def fit(self, training: Training) -> None:
        """Bin the features by their quantiles and keep those of the least held-out loss."""
        examples, labels = training.examples, training.examples.labels
        events = ~examples.landmarks
        masks = (events & (labels >= 0), events & training.fit, events & training.stop)
        size = len(training.states)
        self.horizons = training.horizons
        self.next_action = self._best(examples, labels, *masks, size, metrics.log_loss)
        self.conversions = []
        for place in range(len(self.horizons)):
            truths = examples.conversions[:, place]
            fit, stop = training.conversion_fit[:, place], training.conversion_stop[:, place]
            best = self._best(examples, truths, ~np.isnan(truths), fit, stop, 2, _truth_loss)
            self.conversions.append(best)

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The shares of each example's bin; # [rows, states]."""
        assert self.next_action is not None
        return without_leave_twice(self.next_action.predict(examples), examples.states)

    def predict_conversion(self, examples: Examples) -> NDArray[np.float64]:
        """The share of each example's bin; # [rows, horizons]."""
        shares = [binned.predict(examples)[:, 1] for binned in self.conversions]
        return np.column_stack(shares) if shares else np.zeros((len(examples), 0))

    def _best(
        self,
        examples: Examples,
        labels: NDArray,
        every: NDArray[np.bool_],
        fit: NDArray[np.bool_],
        stop: NDArray[np.bool_],
        classes: int,
        loss: Loss,
    ) -> Binned:
        candidates = self._candidates()
        rows, held_out = examples.take(fit), examples.take(stop)
        losses = []
        for feature in candidates if len(held_out) else ():
            binned = Binned.fit(feature, rows, labels[fit], classes, self.config.bins)
            losses.append(loss(binned.predict(held_out), labels[stop]))
        best = candidates[int(np.argmin(losses))] if losses else candidates[0]
        return Binned.fit(best, examples.take(every), labels[every], classes, self.config.bins)

    def _candidates(self) -> list[Feature]:
        single = [feature for feature in self.features if not feature.type.endswith("[]")]
        if self.config.name is None:
            return single
        named = [feature for feature in single if feature.name == self.config.name]
        if not named:
            raise BadInput(
                f"column.name: the fit reads no single-valued feature {self.config.name!r}"
            )
        return named

    def to_json(self) -> dict[str, Any]:
        """The features, their bins and the shares."""
        assert self.next_action is not None
        return {
            "bins": self.config.bins,
            "next_action": self.next_action.to_json(),
            "conversions": {
                horizon: binned.to_json()
                for horizon, binned in zip(self.horizons, self.conversions, strict=True)
            },
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        model = cls(ColumnConfig(bins=content["bins"]))
        model.next_action = Binned.from_json(content["next_action"])
        model.horizons = tuple(content["conversions"])
        model.conversions = [Binned.from_json(each) for each in content["conversions"].values()]
        return model


def _truth_loss(probabilities: NDArray, labels: NDArray) -> float:
    return float(metrics.binary_log_loss(probabilities[:, 1], labels).mean())
