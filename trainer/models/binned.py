"""Shares of classes within the bins of one feature."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.features import Feature
from trainer.inputs import KINDS, feature_values, frequent
from trainer.models.base import smoothed
from trainer.user_rows import backed_off
from trainer.vocabulary import lookup

_STRENGTH = 5.0  # rows that the shares over all bins count as within one
_VOCABULARY = 100


@dataclass(frozen=True)
class Binned:
    """One feature as a classifier.

    Attributes
    ----------
    feature
        The feature, of a single value.
    edges
        # [bins - 1], ascending, of a number; a value on an edge belongs to the bin below
    words
        The bins of a text.
    probabilities
        # [bins + 1, classes]; the last row is for null and unknown values
    """

    feature: Feature
    edges: NDArray[np.float64]
    words: tuple[str, ...]
    probabilities: NDArray[np.float64]

    @classmethod
    def fit(
        cls, feature: Feature, rows: Examples, labels: NDArray, classes: int, bins: int
    ) -> Self:
        """Bin by quantiles, or by the most frequent texts, and count.

        Parameters
        ----------
        feature
            The feature.
        rows, labels
            # [rows], and the class of each
        classes, bins
            How many.
        """
        words: tuple[str, ...] = ()
        edges = np.zeros(0)
        if KINDS[feature.type] == "text":
            words = frequent(rows.features[feature.name].combine_chunks(), _VOCABULARY)
            size = len(words)
        else:
            values, known = _numbers(feature, rows)
            shares = np.linspace(0, 1, bins + 1)[1:-1]
            if known.any():
                edges = np.unique(np.quantile(values[known], shares, method="lower"))
            size = len(edges) + 1
        empty = cls(feature, edges, words, np.zeros((size + 1, classes)))
        counts = np.zeros((size + 1, classes))
        np.add.at(counts, (empty._bins(rows), labels.astype(np.int64)), 1)
        shares_of_all = smoothed(counts.sum(axis=0))
        return cls(feature, edges, words, backed_off(counts, shares_of_all, _STRENGTH))

    def predict(self, examples: Examples) -> NDArray[np.float64]:
        """The shares of each example's bin; # [rows, classes]."""
        return self.probabilities[self._bins(examples)]

    def _bins(self, examples: Examples) -> NDArray[np.int64]:
        if KINDS[self.feature.type] == "text":
            column = examples.features[self.feature.name].combine_chunks()
            found = lookup(column, self.words)
            return pc.fill_null(found.cast(pa.int64()), len(self.words)).to_numpy()
        values, known = _numbers(self.feature, examples)
        return np.where(known, np.searchsorted(self.edges, values), len(self.edges) + 1)

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        return {
            "feature": asdict(self.feature),
            "edges": self.edges.tolist(),
            "words": list(self.words),
            "probabilities": self.probabilities.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What :meth:`to_json` described."""
        return cls(
            Feature(**content["feature"]),
            np.array(content["edges"], dtype=np.float64),
            tuple(content["words"]),
            np.array(content["probabilities"]),
        )


def _numbers(feature: Feature, rows: Examples) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    column = rows.features[feature.name].combine_chunks()
    values, known = feature_values(column, KINDS[feature.type], 1, rows.instants)
    return values[:, 0], known
