"""The parts that a ranking is mixed from, as probabilities: of the target alone, or of everything.

A part without a count says nothing of a row: it has no mass there, and the others share what it
would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.ranking.entries import Entries, live_entries, own_entries, step_entries
from trainer.ranking.log import TargetLog
from trainer.ranking.popularity import Popularity, closed_hours
from trainer.ranking.rows import RankingRows

NOW, WEEK, LONG = "just_now", "this_week", "long_taste"
# Every part, and the scale that a reason names. The order is that of every array of parts.
PARTS = {
    "own_recent": NOW,
    "own_7d": WEEK,
    "own_opening": LONG,
    "own_all": LONG,
    "step": NOW,
    "own_step": NOW,
    "live": NOW,
    "newest": NOW,
    "popular_1h": NOW,
    "popular_1d": NOW,
    "popular_7d": WEEK,
    "popular_30d": LONG,
    "popular_all": LONG,
    "opening_30d": LONG,
    "uniform": LONG,
}
NEIGHBOURS = "neighbours"  # a part of its own ranker alone
NEURAL = "neural"  # a part beside the counted ones
COUNTED = tuple(name for name in PARTS if name.startswith(("popular_", "opening_")))
_CELLS = 4_000_000  # of one block of rows by values


@dataclass(frozen=True)
class Counted:
    """Counts of one block of rows.

    Attributes
    ----------
    rows
        The block, ascending in time.
    entries
        Parts that weigh a few values of each row.
    totals
        # [rows, parts], events behind each part; 0 where it says nothing
    """

    rows: RankingRows
    entries: dict[str, Entries]
    totals: NDArray[np.float64]


class Parts:
    """Counts rows of one log.

    Parameters
    ----------
    log
        The log.
    """

    def __init__(self, log: TargetLog) -> None:
        self._log = log

    def _popularity(self, name: str) -> tuple[Popularity, str]:
        kind, _, scale = name.partition("_")
        return (self._log.openings if kind == "opening" else self._log.popularity), scale

    def count(self, rows: RankingRows) -> Counted:
        """Count one block; its rows ascend in time."""
        entries = own_entries(rows) | step_entries(rows) | live_entries(rows)
        totals = np.zeros((len(rows), len(PARTS)))
        for place, name in enumerate(PARTS):
            if name in entries:
                totals[:, place] = entries[name].totals(len(rows))
            elif name == "uniform":
                totals[:, place] = rows.known
            else:
                popularity, scale = self._popularity(name)
                totals[:, place] = popularity.totals(scale, rows.instants)
        return Counted(rows, entries, totals)

    def of_targets(self, counted: Counted) -> NDArray[np.float64]:
        """Probability of each row's target under each part; # [rows, parts].

        0 for a target outside the catalogue of its instant.
        """
        rows = counted.rows
        reachable = (rows.targets >= 0) & (rows.targets < rows.known)
        targets = np.where(reachable, rows.targets, 0)
        found = np.zeros(counted.totals.shape)
        for place, name in enumerate(PARTS):
            if name in counted.entries:
                found[:, place] = counted.entries[name].of(targets)
            elif name == "uniform":
                found[:, place] = 1.0
            else:
                popularity, scale = self._popularity(name)
                found[:, place] = popularity.of(scale, rows.instants, targets)
        return np.where(reachable[:, None], found / np.maximum(counted.totals, 1e-300), 0.0)

    def mix(self, counted: Counted, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of every value; # [rows, values], 0 outside the catalogue.

        Parameters
        ----------
        counted
            The block.
        weights
            # [rows, parts]; where they sum to 1 over the parts that say something, so does a row
        """
        rows, values = counted.rows, counted.rows.log.values
        shares = np.where(counted.totals > 0, weights / np.maximum(counted.totals, 1e-300), 0.0)
        answer = np.zeros((len(rows), values))
        hours, hour = np.unique(closed_hours(rows.instants), return_inverse=True)
        for place, name in enumerate(PARTS):
            if name in COUNTED and weights[:, place].any():
                popularity, scale = self._popularity(name)
                answer += popularity.counts(scale, hours)[hour] * shares[:, place, None]
        flat = answer.reshape(-1)
        for place, name in enumerate(PARTS):
            if name in counted.entries and weights[:, place].any():
                entries = counted.entries[name]
                cells = entries.rows * values + entries.codes
                added = entries.weights * shares[entries.rows, place]
                np.add.at(flat, cells, added)
        inside = np.arange(values) < rows.known[:, None]
        uniform = shares[:, list(PARTS).index("uniform"), None]
        return np.where(inside, answer + uniform, 0.0)


def scale_of(part: str) -> str:
    """The scale that a part belongs to."""
    return PARTS.get(part, NOW)


def blocks(rows: RankingRows, values: int | None = None) -> Iterator[NDArray[np.int64]]:
    """Rows in order of time, as many at a time as a table of all values may have.

    Yields
    ------
    chosen
        # [block], indices of rows
    """
    width = max(values if values is not None else rows.log.values, 1)
    size = max(1, min(1024, _CELLS // width))
    order = np.argsort(rows.instants, kind="stable")
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]
