"""Two searches over flat arrays that everything here is made of."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.instants import Instants

Codes = NDArray[np.int64]


def expand(starts: Codes, ends: Codes) -> tuple[Codes, Codes]:
    """Every place of every range ``start:end``, and the number of its range.

    Examples
    --------
    >>> number, place = expand(np.array([3, 7]), np.array([5, 8]))
    >>> number.tolist(), place.tolist()
    ([0, 0, 1], [3, 4, 7])
    """
    lengths = np.maximum(ends - starts, 0)
    number = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return number, np.arange(len(number)) - before[number] + starts[number]


def running(flags: NDArray[np.bool_]) -> Codes:
    """How many are true before each place; # [flags + 1]."""
    return np.concatenate([[0], np.cumsum(flags)])


def summed(places: Codes, weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sum of the weights at each place; # [size]."""
    return np.asarray(np.bincount(places, weights=weights, minlength=size), dtype=np.float64)


class Occurrences:
    """Occurrences of keys, by key and then by time.

    Parameters
    ----------
    keys
        # [occurrences], 0 or more
    instants
        # [occurrences]

    Attributes
    ----------
    order
        # [occurrences], where each one stood in the arrays given
    """

    def __init__(self, keys: Codes, instants: Instants) -> None:
        self._times = np.sort(instants)
        self._width = len(instants) + 1
        ranked = keys * self._width + np.searchsorted(self._times, instants, side="left")
        self.order: Codes = np.argsort(ranked, kind="stable")
        self._ranked = ranked[self.order]

    def start(self, keys: Codes) -> Codes:
        """Place of the first occurrence of each key; # [asked]."""
        return np.searchsorted(self._ranked, keys * self._width, side="left")

    def end(
        self, keys: Codes, instants: Instants, side: Literal["left", "right"] = "right"
    ) -> Codes:
        """Place after the last occurrence of each key until each instant; # [asked].

        Parameters
        ----------
        keys, instants
            # [asked]
        side
            ``right`` counts an occurrence at the instant itself, ``left`` does not.
        """
        rank = np.searchsorted(self._times, instants, side=side)
        return np.searchsorted(self._ranked, keys * self._width + rank, side="left")
