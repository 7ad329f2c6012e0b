"""Tied embeddings: a softmax over values, asked by the user's last ones.

A value's vector is learned, for the values of the training part. Where the dataset says what items
are like, a projection of that stands beside it: the vector of an item that training never saw is
the projection alone, so that it can be read in a history and be recommended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from trainer.instants import Instants
from trainer.ranking.arrays import Codes
from trainer.ranking.log import TargetLog
from trainer.ranking.popularity import closed_hours
from trainer.ranking.rows import RankingRows

LAST = 20  # values of a user's own that ask
DIGITS = 6  # kept of each weight, so that what is written is what was fitted
PRIOR = 50.0  # events that a new item counts as having been seen among
_NEVER = np.datetime64("NaT")


def last_values(rows: RankingRows, trained: int, since: Instants | None = None) -> Codes:
    """The user's last values, oldest first, from 1; # [rows, 20].

    Parameters
    ----------
    rows
        Whose.
    trained
        Values with an embedding of their own.
    since
        # [values], from when on others are known by their content; NaT for never

    Returns
    -------
    values
        0 for none, and for one of which nothing is known.
    """
    log = rows.history
    if not len(log):
        return np.zeros((len(rows), LAST), dtype=np.int64)
    places = rows.ends[:, None] - np.arange(LAST, 0, -1)
    codes = np.where(places >= rows.first[:, None], log.codes[np.maximum(places, 0)], -1)
    readable = codes < trained
    if since is not None:
        known = np.where(codes < len(since), codes, 0)
        readable |= (codes < len(since)) & (since[known] <= rows.instants[:, None])
    return np.where((codes >= 0) & readable, codes + 1, 0)


@dataclass(frozen=True)
class Projection:
    """How a vector of content becomes one of an embedding.

    Attributes
    ----------
    weights, tilt
        # [numbers, width] and # [numbers]: to the vector, and to the bias
    center, size
        # [numbers], the mean over the training part's items, and one deviation of all numbers
    base
        Bias of an item without one of its own.
    read
        # [trained values], those whose content was known when they were learned
    """

    weights: NDArray[np.float64]
    tilt: NDArray[np.float64]
    center: NDArray[np.float64]
    size: float
    base: float
    read: NDArray[np.bool_]

    def standardised(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors as the weights read them; # [items, numbers]."""
        return (vectors - self.center) / self.size

    def to_json(self) -> dict[str, Any]:
        """The weights as plain values."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Projection:
        """What :meth:`to_json` described."""
        arrays = {name: np.array(content[name]) for name in ("weights", "tilt", "center", "read")}
        return cls(**arrays, size=content["size"], base=content["base"])


@dataclass(frozen=True)
class Table:
    """Vectors and biases of a log's values, and from when on each can be asked for.

    Attributes
    ----------
    vectors, bias
        # [values, width], # [values]
    since
        # [values] beyond the trained ones as well; ``None`` where there are none
    """

    vectors: NDArray[np.float64]
    bias: NDArray[np.float64]
    since: Instants | None = None


@dataclass(frozen=True, eq=False)
class TiedEmbeddings:
    """The same vector stands for a value where it asks and where it is asked for.

    Attributes
    ----------
    vectors, bias
        # [trained values, width], # [trained values]
    decay
        # [20], weight of each of the last values, before a softmax over those there are
    query, query_bias
        # [width, width], # [width], from the weighed vectors to what is asked
    projection
        Of what items are like; ``None`` where nobody says it.
    """

    vectors: NDArray[np.float64]
    bias: NDArray[np.float64]
    decay: NDArray[np.float64]
    query: NDArray[np.float64]
    query_bias: NDArray[np.float64]
    projection: Projection | None = None

    def table(self, log: TargetLog) -> Table:
        """The values of a log; made once for each."""
        made = _TABLES.setdefault(self, WeakKeyDictionary())
        if log not in made:
            made[log] = self._table(log)
        return made[log]

    def _table(self, log: TargetLog) -> Table:
        projection, content = self.projection, log.content
        if projection is None or content is None:
            return Table(self.vectors, self.bias)
        trained, values = len(self.bias), log.values
        since = content.since.copy()
        # What was learned without its content keeps to what was learned.
        since[:trained][~projection.read] = _NEVER
        known = ~np.isnat(since)
        given = projection.standardised(content.vectors[known])
        vectors, bias = np.zeros((values, self.vectors.shape[1])), np.full(values, projection.base)
        vectors[:trained], bias[:trained] = self.vectors, self.bias
        vectors[known] += given @ projection.weights
        bias[known] += given @ projection.tilt
        return Table(vectors, bias, since)

    def probabilities(self, rows: RankingRows) -> NDArray[np.float64]:
        """Probability of each value; # [rows, values], of the trained ones alone without content.

        0 for a value that is not known at the instant, and everywhere for a user without a readable
        value among his last. A value without a vector, learned or given, is left out: it is unknown
        and not 0.
        """
        trained, table = len(self.bias), self.table(rows.log)
        last = last_values(rows, trained, table.since)
        there = last > 0
        weights = np.where(there, np.exp(self.decay), 0.0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        padded = np.vstack([np.zeros((1, self.vectors.shape[1])), table.vectors])
        bag = np.einsum("rl,rlw->rw", weights, padded[last])
        logits = (bag @ self.query + self.query_bias) @ table.vectors.T + table.bias
        if table.since is not None and len(table.bias) > trained:
            logits[:, trained:] += self._fresh(rows, table)
        number = np.arange(len(table.bias))
        reach = number < rows.known[:, None]
        if table.since is not None:
            reach &= (number < trained) | (table.since <= rows.instants[:, None])
        logits = np.where(reach, logits, -np.inf)
        best = logits.max(axis=1, keepdims=True) if len(number) else np.zeros((len(rows), 1))
        powers = np.exp(logits - np.where(np.isfinite(best), best, 0.0))
        shares = powers / np.maximum(powers.sum(axis=1, keepdims=True), 1e-300)
        return np.where(there.any(axis=1, keepdims=True), shares, 0.0)

    def _fresh(self, rows: RankingRows, table: Table) -> NDArray[np.float64]:
        """What new values' first events add to their biases; # [rows, new values].

        What is like a value says how often it may be asked for, as if that had been seen of
        :data:`PRIOR` events; the events of the last 30 days, from its first sight on, say how often
        it is.
        """
        trained, openings = len(self.bias), rows.log.openings
        hours, hour = np.unique(closed_hours(rows.instants), return_inverse=True)
        counts = openings.counts("30d", hours)[:, trained:]
        totals = openings.since("30d", hours, rows.log.first_seen[trained:])
        given = np.exp(table.bias[trained:])
        return (np.log((counts + PRIOR * given) / (totals + PRIOR)) - table.bias[trained:])[hour]

    def to_json(self) -> dict[str, Any]:
        """The weights as plain values."""
        arrays = {k: value.tolist() for k, value in vars(self).items() if k != "projection"}
        projection = None if self.projection is None else self.projection.to_json()
        return {**arrays, "projection": projection}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TiedEmbeddings:
        """What :meth:`to_json` described."""
        projection = content.get("projection")  # none in a run of before
        arrays = {
            name: np.array(value, dtype=np.float64)
            for name, value in content.items()
            if name != "projection"
        }
        given = None if projection is None else Projection.from_json(projection)
        return cls(**arrays, projection=given)


_TABLES: WeakKeyDictionary[TiedEmbeddings, WeakKeyDictionary[TargetLog, Table]] = (
    WeakKeyDictionary()
)
