"""Histograms of what a model reads and says: the bins are the reference's, and stay.

A number has a bin for null, one for exactly 0 where there are zeros, and quantiles of the rest; a
text has one for null, one for what is rare or new, and one for each frequent value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.features import Feature
from trainer.inputs import KINDS, feature_values, frequent
from trainer.instants import Instants
from trainer.vocabulary import lookup

NOW = "now"  # the scale of a feature without one
PREDICTIONS, LABELS = "predictions", "labels"  # what stands beside the scales
_MOST_WORDS = 30


@dataclass(frozen=True)
class Column:
    """Values of one thing that is watched.

    Attributes
    ----------
    name
        A feature, an element of one (``next_probabilities_7d[2]``), a prediction or a label.
    group
        Its scale, ``now``, ``predictions`` or ``labels``.
    values
        # [rows], numbers with NaN for null, or texts with null
    """

    name: str
    group: str
    values: NDArray[np.float64] | pa.Array

    @property
    def is_text(self) -> bool:
        """Whether the values are texts."""
        return isinstance(self.values, pa.Array)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.bool_]) -> Column:
        """The rows that a mask chooses."""
        if isinstance(self.values, pa.Array):
            return Column(self.name, self.group, self.values.filter(pa.array(rows)))
        return Column(self.name, self.group, self.values[rows])


def feature_columns(
    features: Sequence[Feature], table: pa.Table, instants: Instants
) -> list[Column]:
    """The features that a model reads, each element of an array apart.

    Parameters
    ----------
    features
        Which; raw counts of transitions are left out, of which models read a row of shares.
    table, instants
        # [rows]; an instant becomes the time from it to the row's instant
    """
    columns = []
    for feature in features:
        kind = KINDS.get(feature.type)
        if kind is None or feature.name.startswith("transition_counts"):
            continue
        group, values = feature.scale or NOW, table[feature.name].combine_chunks()
        if kind == "text":
            columns.append(Column(feature.name, group, values))
            continue
        width = 1
        if kind == "numbers":
            lengths = values.drop_null().value_lengths()
            width = lengths[0].as_py() if len(lengths) else 0
        numbers, known = feature_values(values, kind, width, instants)
        numbers[~known] = np.nan
        names = [feature.name]
        if kind == "numbers":
            names = [f"{feature.name}[{place}]" for place in range(width)]
        columns += [Column(name, group, numbers[:, place]) for place, name in enumerate(names)]
    return columns


@dataclass(frozen=True)
class Bins:
    """The bins of one column.

    Attributes
    ----------
    name, group
        See :class:`Column`.
    edges
        Upper ends of the bins of numbers but the last, ascending; an edge belongs to the bin below
        it.
    zero
        Whether exactly 0 has a bin of its own.
    words
        The frequent texts; ``None`` for a number.
    """

    name: str
    group: str
    edges: tuple[float, ...] = ()
    zero: bool = False
    words: tuple[str, ...] | None = None

    def __len__(self) -> int:
        if self.words is not None:
            return 2 + len(self.words)
        return 2 + self.zero + len(self.edges)

    @classmethod
    def fit(cls, column: Column, bins: int) -> Bins:
        """Choose the bins: quantiles of the known numbers that are not 0, or frequent texts.

        Examples
        --------
        >>> found = Bins.fit(Column("n", "7d", np.array([0.0, 0.0, 1.0, 2.0, 3.0, 4.0])), bins=2)
        >>> found.edges, found.zero
        ((2.0,), True)
        """
        if column.is_text:
            return cls(column.name, column.group, words=frequent(column.values, _MOST_WORDS, 1))
        values = column.values[~np.isnan(column.values)]
        zero = bool((values == 0).any())
        values = values[values != 0]
        edges: tuple[float, ...] = ()
        if len(values):
            # "lower" takes values that occur, so that ties are not cut between two that are equal.
            cuts = np.quantile(values, np.arange(1, bins) / bins, method="lower")
            edges = tuple(edge for edge in np.unique(cuts).tolist() if edge < values.max())
        return cls(column.name, column.group, edges, zero)

    def place(self, column: Column) -> NDArray[np.int64]:
        """The bin of each value; # [rows]."""
        values = column.values
        if isinstance(values, pa.Array):
            known = lookup(values, self.words or ())
            place = known.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 2
            return np.where(values.is_null().to_numpy(zero_copy_only=False), 0, place)
        place = 1 + self.zero + np.searchsorted(self.edges, values, side="left")
        if self.zero:
            place = np.where(values == 0, 1, place)
        return np.where(np.isnan(values), 0, place).astype(np.int64)

    def count(self, column: Column, group: NDArray[np.int64] | None = None, groups: int = 1) -> Any:
        """Rows in each bin, by group; # [groups, bins].

        Parameters
        ----------
        column
            The values.
        group
            # [rows], from 0; all are of one without it
        groups
            How many there are.
        """
        place = self.place(column)
        if group is not None:
            place = place + group * len(self)
        return np.bincount(place, minlength=groups * len(self)).reshape(groups, len(self))

    def to_json(self) -> dict[str, Any]:
        """The bins as plain values."""
        words = None if self.words is None else list(self.words)
        return {**vars(self), "edges": list(self.edges), "words": words}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Bins:
        """The bins that :meth:`to_json` described."""
        words = content["words"]
        return cls(
            content["name"],
            content["group"],
            tuple(content["edges"]),
            content["zero"],
            None if words is None else tuple(words),
        )
