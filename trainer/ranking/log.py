"""The log by what its events are about: every item, or every category, as a number.

Values are numbered in the order in which they were first seen. So what is known at an instant, the
catalogue, is a prefix: the numbers below :meth:`TargetLog.known_at`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.columns import Columns as C
from trainer.instants import Instants
from trainer.labels import read_label_table
from trainer.ranking.arrays import Codes, Occurrences, running
from trainer.ranking.content import ItemContent, read_item_content
from trainer.ranking.popularity import Popularity

UNKNOWN = -1
ITEM, CATEGORY = "item", "category"
_DAY = np.timedelta64(1, "D")
TARGETS = {ITEM: C.ITEM, CATEGORY: C.CATEGORY}


@dataclass(frozen=True, eq=False)
class TargetLog:
    """Events in total order, at the flat positions of :class:`trainer.sequences.Sequences`.

    Attributes
    ----------
    users
        # [users], ascending
    offsets
        # [users + 1]; the events of user ``u`` are ``offsets[u]:offsets[u + 1]``
    instants
        # [events]
    codes
        # [events], number of the item or category; -1 where the event has none
    names
        # [values], text, in the order of first sight, then of the name
    first_seen
        # [values], ascending
    content
        What the values are like, where the dataset says it.
    """

    users: NDArray
    offsets: Codes
    instants: Instants
    codes: Codes
    names: NDArray
    first_seen: Instants
    content: ItemContent | None = None

    @classmethod
    def from_events(cls, events: pa.Table, column: str) -> TargetLog:
        """Number the values of a column of the published ``events``, in any row order.

        Parameters
        ----------
        events
            The accepted log.
        column
            ``item_id`` or ``category_id``.
        """
        events = events.sort_by([(C.USER, "ascending"), (C.POSITION, "ascending")])
        owners = events[C.USER].combine_chunks().dictionary_encode()
        users = np.array(owners.dictionary.to_pylist(), dtype=object)
        counts = np.bincount(owners.indices.to_numpy(), minlength=len(users))
        instants = events[C.INSTANT].to_numpy().astype("datetime64[us]")
        values = events[column].combine_chunks().dictionary_encode()
        found = values.indices.fill_null(UNKNOWN).to_numpy().astype(np.int64)
        names = np.array(values.dictionary.to_pylist(), dtype=object)
        first = np.full(len(names), np.iinfo(np.int64).max)
        known = found >= 0
        np.minimum.at(first, found[known], instants[known].astype(np.int64))
        order = np.lexsort((names.astype(str), first)) if len(names) else np.zeros(0, np.int64)
        place = np.empty(len(names) + 1, dtype=np.int64)
        place[order] = np.arange(len(names))
        place[-1] = UNKNOWN  # of events without a value
        return cls(
            users=users,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            instants=instants,
            codes=place[found],
            names=names[order],
            first_seen=first[order].astype("datetime64[us]"),
        )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def values(self) -> int:
        """Values that the log ever shows."""
        return len(self.names)

    def digest(self) -> str:
        """SHA-256 of every value in total order: the same for the same log in any row order."""
        content = hashlib.sha256(json.dumps([self.users.tolist(), self.names.tolist()]).encode())
        for numbers in (self.offsets, self.instants, self.codes):
            content.update(np.ascontiguousarray(numbers).tobytes())
        if self.content is not None:
            content.update(np.ascontiguousarray(self.content.vectors).tobytes())
            content.update(np.ascontiguousarray(self.content.since).tobytes())
        return content.hexdigest()

    def known_at(self, instants: Instants) -> Codes:
        """How many values were first seen at or before each instant: the catalogue's size."""
        return np.searchsorted(self.first_seen, instants, side="right")

    @cached_property
    def owners(self) -> Codes:
        """User of each event; # [events]."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.offsets))

    @cached_property
    def opens(self) -> NDArray[np.bool_]:
        """Whether an event is the first of its user's instant, which is what labels ask for."""
        opens = np.ones(len(self), dtype=bool)
        opens[1:] = (self.instants[1:] != self.instants[:-1]) | (
            self.owners[1:] != self.owners[:-1]
        )
        return opens

    @cached_property
    def by_time(self) -> Codes:
        """Positions of the events that have a value, in order of time; # [events with a value]."""
        known = np.flatnonzero(self.codes >= 0)
        return known[np.argsort(self.instants[known], kind="stable")]

    @cached_property
    def times(self) -> Instants:
        """Instants of :attr:`by_time`."""
        return self.instants[self.by_time]

    @cached_property
    def last_known(self) -> Codes:
        """Position of the user's last event with a value, up to each event; -1 for none."""
        place = np.where(self.codes >= 0, np.arange(len(self)), -1)
        last = np.maximum.accumulate(place) if len(place) else place
        return np.where(last >= self.offsets[self.owners], last, UNKNOWN)

    @cached_property
    def repeats(self) -> Codes:
        """Events before each place whose user had had the value already; # [events + 1]."""
        order = np.lexsort((np.arange(len(self)), self.codes, self.owners))
        codes, owners = self.codes[order], self.owners[order]
        again = np.zeros(len(self), dtype=bool)
        again[order[1:]] = (codes[1:] == codes[:-1]) & (owners[1:] == owners[:-1])
        return running(again & (self.codes >= 0))

    @cached_property
    def stays(self) -> Codes:
        """Events before each place with the value of the user's event before; # [events + 1]."""
        same = np.zeros(len(self), dtype=bool)
        same[1:] = self.codes[1:] == self.codes[:-1]
        same[self.offsets[:-1][np.diff(self.offsets) > 0]] = False
        return running(same & (self.codes >= 0))

    @cached_property
    def news(self) -> Codes:
        """Of :attr:`by_time`, those before each place on a value of the last day; # [known + 1]."""
        return running(self.times - self.first_seen[self.codes[self.by_time]] < _DAY)

    @cached_property
    def popularity(self) -> Popularity:
        """How often each value occurs."""
        return Popularity(self)

    @cached_property
    def openings(self) -> Popularity:
        """How often each value occurs first in its user's instant."""
        return Popularity(self, opening=True)

    @cached_property
    def steps(self) -> Steps:
        """What followed what, from the end of one instant to the start of the user's next."""
        position = np.arange(len(self))
        after = position[self.opens & (position > self.offsets[self.owners]) & (self.codes >= 0)]
        before = self.last_known[after - 1]
        after, before = after[before >= 0], before[before >= 0]
        found = Occurrences(self.codes[before], self.instants[after])
        return Steps(found, after[found.order])


@dataclass(frozen=True)
class Steps:
    """Steps from one value to the next, by the first of the two and then by time.

    Attributes
    ----------
    sources
        Places of the steps by the value before.
    after
        # [steps], position of the event that followed
    """

    sources: Occurrences
    after: Codes


def read_target_logs(folder: Path, features: Path | None = None) -> dict[str, TargetLog]:
    """Read the published log, numbered by each target that its events have at all.

    Parameters
    ----------
    folder
        ``<home>/labels``.
    features
        ``<home>/features``, for what items are like; without it, nobody asks.

    Returns
    -------
    logs
        By target, see :data:`TARGETS`; none where the dataset maps no such column.

    Raises
    ------
    BadInput
        When the table is missing.
    """
    columns = [C.USER, C.POSITION, C.INSTANT, *TARGETS.values()]
    events = read_label_table(folder.resolve(), "events", columns)
    logs = {
        target: TargetLog.from_events(events, column)
        for target, column in TARGETS.items()
        if events[column].null_count < events.num_rows
    }
    if features is not None and ITEM in logs:
        content = read_item_content(features.resolve(), logs[ITEM].names)
        logs[ITEM] = replace(logs[ITEM], content=content)
    return logs
