"""Flat event sequences: one array per column, all users one after the other, with offsets.

Flat arrays cut by offsets are several times faster than list columns, and a prediction's
sequence is a slice of them wherever it comes from: the published events or ``user_sequence``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainer.columns import Columns as C
from trainer.feature_rows import FeatureRows
from trainer.instants import Instants

MISSING = -1
_DIGESTED = 100_000  # texts at a time


@dataclass(frozen=True)
class Sequences:
    """Events of many users in total order.

    Attributes
    ----------
    users
        # [users], ascending where read from the log
    offsets
        # [users + 1]; the events of user ``u`` are ``offsets[u]:offsets[u + 1]``
    actions, categories
        # [events], text; null where unknown
    gaps_ms
        # [events], since the user's previous event; -1 for the first
    durations_ms
        # [events], -1 where unknown
    hours
        # [events], UTC hour of the day
    instants
        # [events], or ``None`` for sequences of the online store, which nobody splits by time
    """

    #: What is read of the published events.
    COLUMNS: ClassVar[tuple[str, ...]] = (
        *(C.USER, C.POSITION, C.INSTANT),
        *(C.ACTION, C.CATEGORY, C.GAP, C.DURATION, C.HOUR),
    )

    users: NDArray
    offsets: NDArray[np.int64]
    actions: pa.Array
    categories: pa.Array
    gaps_ms: NDArray[np.int64]
    durations_ms: NDArray[np.int64]
    hours: NDArray[np.int64]
    instants: Instants | None = None

    def __len__(self) -> int:
        return len(self.gaps_ms)

    @property
    def owners(self) -> NDArray[np.int64]:
        """Index of the user of each event; # [events]."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.offsets))

    def of_users(self, begin: int, end: int) -> Sequences:
        """The sequences of the users ``begin:end``."""
        first, last = int(self.offsets[begin]), int(self.offsets[end])
        return Sequences(
            users=self.users[begin:end],
            offsets=self.offsets[begin : end + 1] - first,
            actions=self.actions.slice(first, last - first),
            categories=self.categories.slice(first, last - first),
            gaps_ms=self.gaps_ms[first:last],
            durations_ms=self.durations_ms[first:last],
            hours=self.hours[first:last],
            instants=None if self.instants is None else self.instants[first:last],
        )

    def digest(self) -> str:
        """SHA-256 of every value in total order: the same for the same log in any row order."""
        content = hashlib.sha256()
        for values in (pa.array(self.users, pa.string()), self.actions, self.categories):
            content.update(b"[")
            # A part at a time: as objects of Python, the texts of a long log fill the memory.
            for begin in range(0, len(values), _DIGESTED):
                part = json.dumps(values.slice(begin, _DIGESTED).to_pylist())
                content.update(((", " if begin else "") + part[1:-1]).encode())
            content.update(b"]")
        for numbers in (self.offsets, self.gaps_ms, self.durations_ms, self.hours, self.instants):
            if numbers is not None:
                content.update(np.ascontiguousarray(numbers).tobytes())
        return content.hexdigest()

    @classmethod
    def from_events(cls, events: pa.Table) -> Sequences:
        """Read the published ``labels/events.parquet``, in any row order."""
        events = events.sort_by([(C.USER, "ascending"), (C.POSITION, "ascending")])
        owners = events[C.USER].combine_chunks().dictionary_encode()
        codes = owners.indices.to_numpy()
        users = np.array(owners.dictionary.to_pylist(), dtype=object)
        counts = np.bincount(codes, minlength=len(users)) if len(users) else np.zeros(0, np.int64)
        return cls(
            users=users,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            actions=events[C.ACTION].combine_chunks(),
            categories=events[C.CATEGORY].combine_chunks(),
            gaps_ms=_integers(events[C.GAP]),
            durations_ms=_integers(events[C.DURATION]),
            hours=_integers(events[C.HOUR]),
            instants=events[C.INSTANT].to_numpy().astype("datetime64[us]"),
        )

    @classmethod
    def from_arrays(cls, users: NDArray, rows: pa.Table | FeatureRows) -> Sequences:
        """Read rows of ``user_sequence``, one a user; a null row is an empty sequence.

        Parameters
        ----------
        users
            # [users]
        rows
            # [users] rows with the arrays of ``user_sequence``
        """
        if isinstance(rows, FeatureRows):
            return cls._from_packed(users, rows)

        def flat(name: str) -> pa.Array:
            return rows[name].combine_chunks().flatten()

        lengths = pc.fill_null(pc.list_value_length(rows[C.SEQUENCE_ACTIONS]), 0).to_numpy()
        categories = flat(C.SEQUENCE_CATEGORIES)
        unknown = pc.equal(categories, "")
        return cls(
            users=users,
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            actions=flat(C.SEQUENCE_ACTIONS),
            categories=pc.if_else(unknown, pa.scalar(None, pa.string()), categories),
            gaps_ms=_integers(flat(C.SEQUENCE_GAPS)),
            durations_ms=_integers(flat(C.SEQUENCE_DURATIONS)),
            hours=_integers(flat(C.SEQUENCE_HOURS)),
        )

    @classmethod
    def _from_packed(cls, users: NDArray, rows: FeatureRows) -> Sequences:
        lengths, actions = rows.texts(C.SEQUENCE_ACTIONS)
        _, categories = rows.texts(C.SEQUENCE_CATEGORIES, empty_is_null=True)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        lengths.cumsum(out=offsets[1:])
        return cls(
            users=users,
            offsets=offsets,
            actions=actions,
            categories=categories,
            gaps_ms=rows.integers(C.SEQUENCE_GAPS),
            durations_ms=rows.integers(C.SEQUENCE_DURATIONS),
            hours=rows.integers(C.SEQUENCE_HOURS),
        )


def _integers(values: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    filled = pc.fill_null(values.cast(pa.int64()), MISSING)
    return np.asarray(filled.to_numpy(), dtype=np.int64)
