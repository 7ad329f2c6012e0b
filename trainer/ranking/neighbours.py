"""Session neighbours: what was done in past sessions that share values with the current one.

Source: Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms" (V-SKNN):
the later values of the current session weigh more, and the most recent sessions are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.ranking.arrays import Codes, Occurrences, expand, summed
from trainer.ranking.entries import Entries
from trainer.ranking.log import TargetLog
from trainer.ranking.rankers import BackedOff, Scores
from trainer.ranking.rows import RankingRows
from trainer.ranking.scoring import NEIGHBOURS, Parts, blocks

_CURRENT = 20  # events of the current session, the last ones
_SESSIONS = 200  # looked at for each of its values, the last ones
_NEIGHBOURS = 100


class Sessions:
    """The sessions of a log, each known from its last event on.

    Parameters
    ----------
    log
        The log.
    gap
        A longer pause ends a session.
    """

    def __init__(self, log: TargetLog, gap: np.timedelta64) -> None:
        self.log = log
        begins = np.ones(len(log), dtype=bool)
        begins[1:] = (log.instants[1:] - log.instants[:-1] > gap) | (
            log.owners[1:] != log.owners[:-1]
        )
        #: Session of each event.
        self.of_event: Codes = np.cumsum(begins) - 1
        self.begins = np.flatnonzero(begins)
        lasts = np.append(self.begins[1:], len(log)) - 1
        self.ends = log.instants[lasts] if len(log) else log.instants
        known = np.flatnonzero(log.codes >= 0)
        width = max(log.values, 1)
        pairs = np.unique(self.of_event[known] * width + log.codes[known])
        #: Values of the sessions, each once, by session.
        self.values: Codes = pairs % width
        self._pair_sessions = pairs // width
        count = len(self.begins)
        self.starts = np.searchsorted(self._pair_sessions, np.arange(count + 1))

    @cached_property
    def postings(self) -> tuple[Occurrences, Codes]:
        """Sessions by value and then by their ends, and which they are."""
        found = Occurrences(self.values, self.ends[self._pair_sessions])
        return found, self._pair_sessions[found.order]


def neighbour_entries(rows: RankingRows, sessions: Sessions) -> Entries:
    """Similarity of the nearest past sessions that hold a value; # (row, value, weight)."""
    log = rows.log
    last = np.maximum(rows.ends - 1, 0)
    known = rows.ends > rows.first
    current = np.where(known, sessions.of_event[last], -1)
    begin = np.maximum(sessions.begins[current], rows.ends - _CURRENT)
    number, place = expand(np.where(known, begin, rows.ends), rows.ends)
    held = log.codes[place] >= 0
    number, place = number[held], place[held]
    length = rows.ends - begin
    weight = (place - begin[number] + 1.0) / length[number]
    # The last sessions with each of these values.
    postings, posted = sessions.postings
    codes = log.codes[place]
    starts, ends = postings.start(codes), postings.end(codes, rows.instants[number])
    asked, found = expand(np.maximum(starts, ends - _SESSIONS), ends)
    session, row = posted[found], number[asked]
    other = session != current[row]
    session, row, weight = session[other], row[other], weight[asked][other]
    # One similarity for each pair of a row and a session.
    count = len(sessions.begins)
    pairs, inverse = np.unique(row * count + session, return_inverse=True)
    similar = summed(inverse, weight, len(pairs))
    row, session = pairs // count, pairs % count
    similar = similar / np.sqrt(np.diff(sessions.starts)[session])
    # The nearest of each row; of equals the latest.
    order = np.lexsort((-sessions.ends[session].astype(np.int64), -similar, row))
    row, session, similar = row[order], session[order], similar[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    near = rank < _NEIGHBOURS
    row, session, similar = row[near], session[near], similar[near]
    which, value = expand(sessions.starts[session], sessions.starts[session + 1])
    return Entries(row[which], sessions.values[value], similar[which])


@dataclass(frozen=True)
class Neighbours:
    """Session neighbours, and recent popularity where there are none.

    Attributes
    ----------
    gap
        A longer pause ends a session.
    behind
        Popularity, which also orders the values that no neighbour holds.
    """

    gap: np.timedelta64
    behind: BackedOff

    SHARE = 0.99

    def scores(self, rows: RankingRows) -> Scores:
        """Share of the neighbours' similarity, and popularity."""
        parts, sessions = Parts(rows.log), Sessions(rows.log, self.gap)
        for chosen in blocks(rows):
            block = rows.take(chosen)
            counted = parts.count(block)
            answer = parts.mix(counted, self.behind.weights(counted)) * (1.0 - self.SHARE)
            entries = neighbour_entries(block, sessions)
            total = entries.totals(len(block))
            cells = entries.rows * rows.log.values + entries.codes
            np.add.at(answer.reshape(-1), cells, self.SHARE * entries.weights / total[entries.rows])
            yield chosen, answer

    def parts_of_targets(self, rows: RankingRows) -> dict[str, NDArray[np.float64]]:
        """What the neighbours give, and what popularity gives."""
        entries = neighbour_entries(rows, Sessions(rows.log, self.gap))
        total = np.maximum(entries.totals(len(rows)), 1e-300)
        behind = self.behind.parts_of_targets(rows)
        return {
            NEIGHBOURS: self.SHARE * entries.of(rows.targets) / total,
            **{name: (1.0 - self.SHARE) * value for name, value in behind.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """The choices."""
        gap = int(self.gap / np.timedelta64(1, "us"))
        return {"session_gap_us": gap, "behind": self.behind.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Neighbours:
        """The ranker that :meth:`to_json` described."""
        gap = np.timedelta64(content["session_gap_us"], "us")
        return cls(gap, BackedOff.from_json(content["behind"]))
