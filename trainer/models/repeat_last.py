"""Repeat last: the next action is the last one, as often as it was in the training part."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainer.columns import Columns as C
from trainer.examples import Examples, state_indices
from trainer.models.base import TextModel, Training, smoothed
from trainer.user_rows import without_leave_twice


class RepeatLast(TextModel):
    """One number, how often an action is repeated; the rest goes by the marginal.

    Parameters
    ----------
    states
        Names of the states.
    repeats
        Share of the event instants whose next state is the last action again.
    others
        # [states], shares of the next states where it is not
    """

    name = "repeat_last"

    def __init__(
        self, states: tuple[str, ...] = (), repeats: float = 0.5, others: NDArray | None = None
    ) -> None:
        self.states = states
        self.repeats = repeats
        self.others = np.zeros(len(states)) if others is None else others

    def fit(self, training: Training) -> None:
        """Count repetitions, and the other next states, at event instants."""
        self.states = training.states
        rows = training.examples
        rows = rows.take(~rows.landmarks & (rows.labels >= 0))
        repeated = rows.labels == self._last_actions(rows)
        size = len(training.states)
        (self.repeats, _) = smoothed(np.array([repeated.sum(), (~repeated).sum()]))
        self.others = smoothed(np.bincount(rows.labels[~repeated], minlength=size))

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The last action's share on the last action; # [rows, states]."""
        last = self._last_actions(examples)
        answer = np.tile(self.others, (len(examples), 1))
        known = np.flatnonzero(last >= 0)
        answer[known, last[known]] = 0.0
        answer[known] *= (1 - self.repeats) / answer[known].sum(axis=1, keepdims=True)
        answer[known, last[known]] = self.repeats
        return without_leave_twice(answer, examples.states)

    def _last_actions(self, examples: Examples) -> NDArray[np.int64]:
        return state_indices(examples.features[C.LAST_ACTION].combine_chunks(), self.states)

    def to_json(self) -> dict[str, Any]:
        """The shares."""
        return {
            "states": list(self.states),
            "repeats": float(self.repeats),
            "others": self.others.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        return cls(tuple(content["states"]), content["repeats"], np.array(content["others"]))
