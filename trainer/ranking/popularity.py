"""Popularity by closed hours: equal to the counts of ``item_activity_<scale>`` at the instant."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.instants import Instants
from trainer.ranking.arrays import Codes, Occurrences

if TYPE_CHECKING:
    from trainer.ranking.log import TargetLog

HOUR = np.timedelta64(1, "h")
SCALES = {
    "1h": HOUR,
    "1d": np.timedelta64(24, "h"),
    "7d": np.timedelta64(7 * 24, "h"),
    "30d": np.timedelta64(30 * 24, "h"),
    "all": None,
}


def closed_hours(instants: Instants) -> Instants:
    """The last full hour at or before each instant: what came later is in no view yet."""
    return instants.astype("datetime64[h]").astype("datetime64[us]")


class Popularity:
    """Events of each value in the windows that end with the last closed hour.

    Parameters
    ----------
    log
        The log.
    opening
        Count the first events of users' instants alone.
    """

    def __init__(self, log: TargetLog, opening: bool = False) -> None:
        chosen = log.by_time[log.opens[log.by_time]] if opening else log.by_time
        self._times = log.instants[chosen]
        self._codes = log.codes[chosen]
        self._values = log.values
        self._places = Occurrences(self._codes, self._times)
        self._moving = threading.Lock()
        self._cursors: dict[str, tuple[int, int, NDArray[np.int64]]] = {}

    def bounds(self, scale: str, instants: Instants) -> tuple[Codes, Codes]:
        """Places of the events of a window in order of time, ``low:high``; # [rows] each."""
        hours, length = closed_hours(instants), SCALES[scale]
        # An hour's end belongs to the hour that begins there: its event is not in yet.
        high = np.searchsorted(self._times, hours, side="left")
        if length is None:
            return np.zeros_like(high), high
        return np.searchsorted(self._times, hours - length, side="left"), high

    def totals(self, scale: str, instants: Instants) -> NDArray[np.float64]:
        """Events in the window; # [rows]."""
        low, high = self.bounds(scale, instants)
        return (high - low).astype(np.float64)

    def since(self, scale: str, instants: Instants, begins: Instants) -> NDArray[np.float64]:
        """Events of all values in the window, from each value's `begins` on; # [rows, begins]."""
        low, high = self.bounds(scale, instants)
        first = np.searchsorted(self._times, begins, side="left")
        return np.maximum(high[:, None] - np.maximum(low[:, None], first), 0).astype(np.float64)

    def of(self, scale: str, instants: Instants, codes: Codes) -> NDArray[np.float64]:
        """Events of one value each in the window; # [rows]."""
        hours, length = closed_hours(instants), SCALES[scale]
        end = self._places.end(codes, hours, side="left")
        if length is None:
            return (end - self._places.start(codes)).astype(np.float64)
        begin = self._places.end(codes, hours - length, side="left")
        return (end - begin).astype(np.float64)

    def counts(self, scale: str, instants: Instants) -> NDArray[np.int64]:
        """Events of every value in the window; # [rows, values].

        Parameters
        ----------
        scale
            Of :data:`SCALES`.
        instants
            # [rows], ascending. A call that begins where the last one ended costs only the events
            between; one that goes back counts anew.
        """
        with self._moving:
            return self._counts(scale, instants)

    def _counts(self, scale: str, instants: Instants) -> NDArray[np.int64]:
        low, high = self.bounds(scale, instants)
        kept = self._cursors.get(scale)
        if kept is None or len(low) == 0 or kept[0] > low[0] or kept[1] > high[0]:
            kept = (0, 0, np.zeros(self._values, dtype=np.int64))
        before_low, before_high, counts = kept
        table = np.zeros((len(instants), self._values), dtype=np.int64)
        for sign, edges, begin in ((1, high, before_high), (-1, low, before_low)):
            if len(edges) and edges[-1] > begin:
                moved = np.arange(begin, edges[-1])
                step = np.searchsorted(edges, moved, side="right")
                np.add.at(table, (step, self._codes[moved]), sign)
        if len(table):
            table[0] += counts
            np.cumsum(table, axis=0, out=table)
            self._cursors[scale] = (int(low[-1]), int(high[-1]), table[-1].copy())
        return table
