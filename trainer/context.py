"""The context of an instant as numbers: all scales' features, the calendar, the user's own row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.columns import Columns as C
from trainer.examples import Examples
from trainer.features import Feature
from trainer.inputs import CALENDAR, FeatureEncoder
from trainer.models.base import Training, smoothed
from trainer.stored_features import StoredFeatures
from trainer.user_rows import UserRows, evenly, own_counts

NOW, CALENDAR_GROUP, USER_ROW = "now", "calendar", "user_row"
PRIOR, SEQUENCE = "prior", "sequence"  # sources of logits beside the groups
COUNTED_ROW = f"{USER_ROW}:counted"  # the user's row, where it is added to the logits as it is
_ROWS = 100_000  # encoded at a time
_FITTED = 1_000_000  # rows that moments and vocabularies are fitted on, at most
_LEAST = 1e-4  # of a probability whose logarithm is an input


class ContextEncoder:
    """Turn examples into the matrix that stands beside the encoded sequence.

    Parameters
    ----------
    features
        Encoder of the features.
    scales
        Group of each feature: its scale, or ``now`` where it has none.
    rows
        The user's own row, or ``None`` where it does not enter.

    Notes
    -----
    The last ``states + 1`` columns are the logarithms of the user's backed-off row and the
    logarithm of how many transitions of his own it holds.
    """

    def __init__(
        self, features: FeatureEncoder, scales: Sequence[str], rows: UserRows | None
    ) -> None:
        self.features = features
        self.scales = tuple(scales)
        self.rows = rows

    @classmethod
    def fit(
        cls,
        training: Training,
        features: Sequence[Feature],
        vocabulary: int,
        clip: float,
        user_row: bool,
    ) -> ContextEncoder:
        """Fit moments, vocabularies and the strength of the back-off on the training part."""
        read = [feature for feature in features if feature.name != C.TRANSITION_COUNTS]
        sample = evenly(len(training.examples), _FITTED)
        table, instants = training.examples.features, training.examples.instants
        if len(sample) < len(instants):
            table, instants = table.take(pa.array(sample)), instants[sample]
        encoder = FeatureEncoder.fit(
            table,
            {feature.name: feature.type for feature in read},
            instants,
            vocabulary,
            clip,
        )
        rows = UserRows.fit(population_rows(training), training.held_out) if user_row else None
        return cls(encoder, [feature.scale or NOW for feature in read], rows)

    @property
    def columns(self) -> list[str]:
        """Names of the matrix's columns, in order."""
        names = self.features.columns
        if self.rows is not None:
            places = range(self.rows.states)
            names = [*names, *(f"{USER_ROW}[{place}]" for place in places), f"{USER_ROW}:total"]
        return names

    @property
    def groups(self) -> list[str]:
        """Group of each column: a scale, ``now``, ``calendar`` or ``user_row``; # [columns]."""
        groups = [
            scale
            for code, scale in zip(self.features.codes, self.scales, strict=True)
            for _ in code.columns()
        ]
        groups += [CALENDAR_GROUP] * len(CALENDAR)
        return groups + [USER_ROW] * (len(self.columns) - len(groups))

    def transform(self, examples: Examples) -> NDArray[np.float32]:
        """Encode rows; # [rows, columns], without nulls."""
        rows = len(examples)
        if rows <= _ROWS:
            return self._transform(examples)
        # Some at a time: on the way a value takes several times the four bytes that it ends in.
        matrix = np.empty((rows, len(self.columns)), dtype=np.float32)
        for begin in range(0, rows, _ROWS):
            end = min(begin + _ROWS, rows)
            matrix[begin:end] = self._transform(examples.take(np.arange(begin, end)))
        return matrix

    def _transform(self, examples: Examples) -> NDArray[np.float32]:
        examples = examples.loaded()
        assert not isinstance(examples.features, StoredFeatures)
        matrix = self.features.transform(examples.features, examples.instants)
        if self.rows is None:
            return matrix
        counts = own_counts(examples, self.rows.states)
        chances = np.log(np.maximum(self.rows.probabilities(examples, counts), _LEAST))
        total = np.log1p(counts.sum(axis=1, keepdims=True))
        return np.hstack([matrix, chances.astype(np.float32), total.astype(np.float32)])

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        rows = None if self.rows is None else self.rows.to_json()
        return {"features": self.features.to_json(), "scales": list(self.scales), "user_row": rows}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ContextEncoder:
        """The encoder that :meth:`to_json` described."""
        rows = content["user_row"]
        return cls(
            FeatureEncoder.from_json(content["features"]),
            content["scales"],
            None if rows is None else UserRows.from_json(rows),
        )


def population_rows(training: Training) -> NDArray[np.float64]:
    """The population's transition matrix, and below it the row of a user without history.

    Returns
    -------
    rows
        # [states + 1, states]
    """
    counts = training.transition_counts
    return np.vstack([smoothed(counts), smoothed(counts.sum(axis=0))])
