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
from trainer.instants import Instants, weekdays

MISSING = -1
_DIGESTED = 100_000  # texts at a time
_TEXTS = ("actions", "items", "categories", "locations")
_NUMBERS = ("gaps_ms", "durations_ms", "hours", "weekdays")


@dataclass(frozen=True)
class Sequences:
    """Events of many users in total order.

    Attributes
    ----------
    users
        # [users], ascending where read from the log
    offsets
        # [users + 1]; the events of user ``u`` are ``offsets[u]:offsets[u + 1]``
    actions, items, categories, locations
        # [events], text; null where unknown
    gaps_ms
        # [events], since the user's previous event; -1 for the first
    durations_ms
        # [events], -1 where unknown
    hours, weekdays
        # [events], UTC hour of the day, and UTC weekday, 0 for Monday
    instants
        # [events], or ``None`` for sequences of the online store, which nobody splits by time
    """

    #: What is read of the published events.
    COLUMNS: ClassVar[tuple[str, ...]] = (
        *(C.USER, C.POSITION, C.INSTANT),
        *(C.ACTION, C.ITEM, C.CATEGORY, C.LOCATION, C.GAP, C.DURATION, C.HOUR),
    )

    users: NDArray
    offsets: NDArray[np.int64]
    actions: pa.Array
    items: pa.Array
    categories: pa.Array
    locations: pa.Array
    gaps_ms: NDArray[np.int64]
    durations_ms: NDArray[np.int64]
    hours: NDArray[np.int64]
    weekdays: NDArray[np.int64]
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
        texts = {name: getattr(self, name).slice(first, last - first) for name in _TEXTS}
        numbers = {name: getattr(self, name)[first:last] for name in _NUMBERS}
        return Sequences(
            users=self.users[begin:end],
            offsets=self.offsets[begin : end + 1] - first,
            instants=None if self.instants is None else self.instants[first:last],
            **texts,
            **numbers,
        )

    def picked(
        self, users: NDArray, offsets: NDArray[np.int64], places: NDArray[np.int64]
    ) -> Sequences:
        """Sequences of some of the events, each with its own gap.

        Parameters
        ----------
        users, offsets
            See :class:`Sequences`.
        places
            # [events], flat positions
        """
        chosen = pa.array(places)
        return Sequences(
            users=users,
            offsets=offsets,
            instants=None if self.instants is None else self.instants[places],
            **{name: getattr(self, name).take(chosen) for name in _TEXTS},
            **{name: getattr(self, name)[places] for name in _NUMBERS},
        )

    def digest(self) -> str:
        """SHA-256 of every value in total order: the same for the same log in any row order."""
        content = hashlib.sha256()
        texts = (getattr(self, name) for name in _TEXTS)
        for values in (pa.array(self.users, pa.string()), *texts):
            content.update(b"[")
            # A part at a time: as objects of Python, the texts of a long log fill the memory.
            for begin in range(0, len(values), _DIGESTED):
                part = json.dumps(values.slice(begin, _DIGESTED).to_pylist())
                content.update(((", " if begin else "") + part[1:-1]).encode())
            content.update(b"]")
        own = (getattr(self, name) for name in _NUMBERS)
        for numbers in (self.offsets, *own, self.instants):
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
        instants = events[C.INSTANT].to_numpy().astype("datetime64[us]")
        return cls(
            users=users,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            actions=events[C.ACTION].combine_chunks(),
            items=events[C.ITEM].combine_chunks(),
            categories=events[C.CATEGORY].combine_chunks(),
            locations=events[C.LOCATION].combine_chunks(),
            gaps_ms=_integers(events[C.GAP]),
            durations_ms=_integers(events[C.DURATION]),
            hours=_integers(events[C.HOUR]),
            weekdays=weekdays(instants),
            instants=instants,
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

        def known(name: str) -> pa.Array:
            texts = flat(name)
            return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)

        lengths = pc.fill_null(pc.list_value_length(rows[C.SEQUENCE_ACTIONS]), 0).to_numpy()
        return cls(
            users=users,
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            actions=flat(C.SEQUENCE_ACTIONS),
            items=known(C.SEQUENCE_ITEMS),
            categories=known(C.SEQUENCE_CATEGORIES),
            locations=known(C.SEQUENCE_LOCATIONS),
            gaps_ms=_integers(flat(C.SEQUENCE_GAPS)),
            durations_ms=_integers(flat(C.SEQUENCE_DURATIONS)),
            hours=_integers(flat(C.SEQUENCE_HOURS)),
            weekdays=_integers(flat(C.SEQUENCE_WEEKDAYS)),
        )

    @classmethod
    def _from_packed(cls, users: NDArray, rows: FeatureRows) -> Sequences:
        lengths, actions = rows.texts(C.SEQUENCE_ACTIONS)

        def known(name: str) -> pa.Array:
            return rows.texts(name, empty_is_null=True)[1]

        offsets = np.zeros(len(lengths) + 1, np.int64)
        lengths.cumsum(out=offsets[1:])
        return cls(
            users=users,
            offsets=offsets,
            actions=actions,
            items=known(C.SEQUENCE_ITEMS),
            categories=known(C.SEQUENCE_CATEGORIES),
            locations=known(C.SEQUENCE_LOCATIONS),
            gaps_ms=rows.integers(C.SEQUENCE_GAPS),
            durations_ms=rows.integers(C.SEQUENCE_DURATIONS),
            hours=rows.integers(C.SEQUENCE_HOURS),
            weekdays=rows.integers(C.SEQUENCE_WEEKDAYS),
        )


def _integers(values: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    filled = pc.fill_null(values.cast(pa.int64()), MISSING)
    return np.asarray(filled.to_numpy(), dtype=np.int64)
