"""User row: a Markov chain of order 1 with the user's own counts, backed off to everyone's."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainer.context import population_rows
from trainer.examples import Examples
from trainer.models.base import TextModel, Training
from trainer.user_rows import UserRows


class UserRow(TextModel):
    """What this user did after this state until now, and what everyone does."""

    name = "user_row"

    def __init__(self, rows: UserRows | None = None) -> None:
        self.rows = rows

    def fit(self, training: Training) -> None:
        """Take the population's rows and choose how much they count."""
        self.rows = UserRows.fit(population_rows(training), training.held_out)

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The backed-off row of each example; # [rows, states]."""
        assert self.rows is not None
        return self.rows.probabilities(examples)

    def to_json(self) -> dict[str, Any]:
        """The population's rows and their strength."""
        assert self.rows is not None
        return self.rows.to_json()

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        return cls(UserRows.from_json(content))
