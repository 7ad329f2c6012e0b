"""What counting knows of a few values of each row: who did what, as (row, value, weight)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.ranking.arrays import Codes, expand, summed
from trainer.ranking.rows import RankingRows

_MOST_EVENTS = 2000  # of a user's own, the last ones: what lies further back says little
_MOST_STEPS = 500  # from one value, the last ones
_RECENT = 50
_LIVE = 200  # of everybody's events
_NEWEST = 100  # values
_WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True)
class Entries:
    """Weights of some values of some rows; # [entries] each. A pair may occur several times."""

    rows: Codes
    codes: Codes
    weights: NDArray[np.float64]

    def totals(self, rows: int) -> NDArray[np.float64]:
        """Sum of each row's weights; # [rows]."""
        return summed(self.rows, self.weights, rows)

    def of(self, targets: Codes) -> NDArray[np.float64]:
        """Weight of each row's target; # [rows]."""
        same = self.codes == targets[self.rows]
        return summed(self.rows[same], self.weights[same], len(targets))


def own_entries(rows: RankingRows) -> dict[str, Entries]:
    """What the row's user did himself, by how far back it lies.

    ``own_recent`` weighs the last 50 events by 1 / place from the end; ``own_7d`` and ``own_all``
    count events; ``own_opening`` counts the first event of each instant alone, since that is what
    is asked: the first line of the next basket.
    """
    log = rows.history
    number, place = expand(np.maximum(rows.first, rows.ends - _MOST_EVENTS), rows.ends)
    known = log.codes[place] >= 0
    number, place = number[known], place[known]
    codes, back = log.codes[place], rows.ends[number] - place
    ones = np.ones(len(place))
    recent, week = back <= _RECENT, log.instants[place] > rows.instants[number] - _WEEK
    opening = log.opens[place]
    return {
        "own_recent": Entries(number[recent], codes[recent], 1.0 / back[recent]),
        "own_7d": Entries(number[week], codes[week], ones[week]),
        "own_opening": Entries(number[opening], codes[opening], ones[opening]),
        "own_all": Entries(number, codes, ones),
    }


def last_codes(rows: RankingRows) -> Codes:
    """The value of the user's last event that has one; # [rows], -1 for none."""
    log = rows.history
    if len(log) == 0:
        return np.full(len(rows), -1)
    last = np.where(rows.ends > rows.first, log.last_known[np.maximum(rows.ends - 1, 0)], -1)
    return np.where(last >= 0, log.codes[np.maximum(last, 0)], -1)


def step_entries(rows: RankingRows) -> dict[str, Entries]:
    """What followed the user's last value: after everybody, and after himself."""
    log, steps = rows.log, rows.log.steps
    last = last_codes(rows)
    starts = steps.sources.start(last)
    ends = np.where(last >= 0, steps.sources.end(last, rows.instants), starts)
    number, place = expand(np.maximum(starts, ends - _MOST_STEPS), ends)
    after = steps.after[place]
    codes, ones = log.codes[after], np.ones(len(after))
    own = log.owners[after] == rows.owners[number]
    return {
        "step": Entries(number, codes, ones),
        "own_step": Entries(number[own], codes[own], ones[own]),
    }


def live_entries(rows: RankingRows) -> dict[str, Entries]:
    """What everybody did just now, and what was seen for the first time last."""
    log = rows.log
    ends = np.searchsorted(log.times, rows.instants, side="right")
    number, place = expand(np.maximum(ends - _LIVE, 0), ends)
    back = (ends[number] - place).astype(np.float64)
    live = Entries(number, log.codes[log.by_time[place]], 1.0 / (10.0 + back))
    known = rows.known
    number, codes = expand(np.maximum(known - _NEWEST, 0), known)
    newest = Entries(number, codes, 1.0 / (known[number] - codes).astype(np.float64))
    return {"live": live, "newest": newest}
