"""The events known so far, by user and by id, in memory.

Rows are those of staging with their verdict, of each id the one that counts. They lie in a few
Arrow tables, each about twice as large as the next, so that a batch is added in the time of a batch
and the rows of some users are found without a look at anybody else's.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa

_MOST_MERGED = 1_000_000  # rows; longer tables stay as they are, so that no batch waits for long


class History:
    """Rows by user and by id.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the rows; it has ``user_id`` and ``event_id``.
    """

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._tables: list[pa.Table] = []
        self._starts: list[int] = []  # number of each table's first row
        self._end = 0
        self._of_user: dict[str, array[int]] = {}
        self._of_id: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._of_id)

    def replace(self, rows: pa.Table) -> None:
        """Add rows; of an id that is known already, the new one takes the place of the old."""
        if not rows.num_rows:
            return
        ids = rows.column("event_id").to_pylist()
        self.remove([event_id for event_id in ids if event_id in self._of_id])
        users = rows.column("user_id").to_pylist()
        for number, (event_id, user) in enumerate(zip(ids, users, strict=True), self._end):
            self._of_id[event_id] = number
            if user is not None:
                known = self._of_user.get(user)
                if known is None:
                    known = self._of_user[user] = array("q")
                known.append(number)
        self._tables.append(rows.select(self.schema.names).cast(self.schema).combine_chunks())
        self._starts.append(self._end)
        self._end += rows.num_rows
        self._merge()

    def remove(self, ids: Collection[str]) -> None:
        """Forget rows by their ids; the memory is not given back."""
        if not ids:
            return
        numbers = [self._of_id.pop(event_id) for event_id in ids]
        gone = set(numbers)
        for user in set(self._take(numbers).column("user_id").to_pylist()) - {None}:
            left = array("q", (n for n in self._of_user[user] if n not in gone))
            if left:
                self._of_user[user] = left
            else:
                del self._of_user[user]

    def count_of(self, user: str) -> int:
        """How many rows a user has."""
        return len(self._of_user.get(user, ()))

    def of_users(self, users: Iterable[str]) -> pa.Table:
        """All rows of these users."""
        numbers: array[int] = array("q")
        for user in users:
            numbers.extend(self._of_user.get(user, ()))
        return self._take(numbers)

    def of_ids(self, ids: Iterable[str]) -> pa.Table:
        """The rows with these ids, where there are any."""
        return self._take([self._of_id[i] for i in ids if i in self._of_id])

    def _take(self, numbers: Collection[int]) -> pa.Table:
        if not len(numbers):
            return self.schema.empty_table()
        wanted = np.sort(np.asarray(numbers, dtype=np.int64))
        bounds = np.searchsorted(wanted, [*self._starts, self._end])
        parts = [
            table.take(pa.array(wanted[first:last] - start))
            for table, start, first, last in zip(
                self._tables, self._starts, bounds[:-1], bounds[1:], strict=True
            )
            if last > first
        ]
        return pa.concat_tables(parts)

    def _merge(self) -> None:
        while len(self._tables) > 1:
            last, before = self._tables[-1].num_rows, self._tables[-2].num_rows
            if before > 2 * last or last + before > _MOST_MERGED:
                return
            merged = pa.concat_tables(self._tables[-2:]).combine_chunks()
            self._tables[-2:] = [merged]
            self._starts.pop()
