"""Rows that are compared: one a user and period, since a user's rows are no independent draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.instants import Instants

_TICK = np.timedelta64(1, "us")


@dataclass(frozen=True)
class Periods:
    """Stretches of one length, one after the other; an instant at an end is in the one that ends.

    Attributes
    ----------
    start
        The first one begins just after it.
    length
        Of each.
    count
        How many.
    """

    start: np.datetime64
    length: np.timedelta64
    count: int

    @property
    def ends(self) -> Instants:
        """End of each; # [periods]."""
        return self.start + self.length * np.arange(1, self.count + 1)

    @property
    def begins(self) -> Instants:
        """Just before each begins; # [periods]."""
        return self.start + self.length * np.arange(self.count)

    @classmethod
    def between(cls, start: np.datetime64, end: np.datetime64, length: np.timedelta64) -> Periods:
        """The whole periods after `start` and until `end`."""
        return cls(start, length, max(int((end - start) // length), 0))

    @classmethod
    def before(cls, end: np.datetime64, first: np.datetime64, length: np.timedelta64) -> Periods:
        """The periods that end at `end` or whole periods before it, none begun before `first`.

        One that is not whole, where there would be none.
        """
        count = max(int((end - first) // length), 1)
        return cls(end - length * count, length, count)

    def of(self, instants: Instants) -> NDArray[np.int64]:
        """Number of each instant's period, -1 for one outside; # [rows].

        Examples
        --------
        >>> day = np.timedelta64(1, "D").astype("timedelta64[us]")
        >>> periods = Periods(np.datetime64("2024-01-01", "us"), day, 2)
        >>> asked = ["2024-01-01", "2024-01-02", "2024-01-02T01", "2024-01-04"]
        >>> periods.of(np.array(asked, dtype="datetime64[us]")).tolist()
        [-1, 0, 1, -1]
        """
        number = ((instants - self.start - _TICK) // self.length).astype(np.int64)
        return np.where((number >= 0) & (number < self.count), number, -1)


def one_a_user(examples: Examples, periods: Periods) -> NDArray[np.int64]:
    """One event instant of each user in each period; # [chosen], indices of rows by period.

    Which one goes by a hash of its instant: the same rows in any order, and not the user's last,
    which would always be at the end of something.
    """
    number = periods.of(examples.instants)
    rows = np.flatnonzero((number >= 0) & ~examples.landmarks)
    order = np.lexsort((_mixed(examples.instants[rows]), examples.owners[rows], number[rows]))
    rows = rows[order]
    key = np.column_stack([number[rows], examples.owners[rows]])
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (key[1:] != key[:-1]).any(axis=1)
    return rows[first]


def newcomers(examples: Examples, since: Instants) -> NDArray[np.bool_]:
    """Rows whose user had no event at or before an instant of the row's own; # [rows]."""
    instants = examples.sequences.instants
    assert instants is not None
    return instants[examples.first] > since


def _mixed(instants: Instants) -> NDArray[np.uint64]:
    """Numbers without any order in time, the finalizer of splitmix64 (Steele et al. 2014)."""
    mixed = instants.astype("datetime64[us]").astype(np.int64).view(np.uint64).copy()
    with np.errstate(over="ignore"):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
