"""A table of features that is too large for memory: a file without a name, read in parts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.instants import Instants
from trainer.row_groups import space_named

FETCHED_ROWS = 250_000  # asked of the store at a time; so many are held in memory
_GROUP_ROWS = 25_000

Fetch = Callable[[NDArray, Instants], pa.Table]


class StoredFeatures:
    """Rows of a stored table; of :class:`pyarrow.Table` it has what models ask of features.

    Parameters
    ----------
    file
        The table.
    starts
        # [row groups + 1], the first row of each
    rows
        # [rows], which of the table's; all of them without it
    """

    def __init__(
        self,
        file: pq.ParquetFile,
        starts: NDArray[np.int64],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._file = file
        self._starts = starts
        self._rows = rows

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self._starts[-1]) if self._rows is None else len(self._rows)

    @property
    def column_names(self) -> list[str]:
        """Names, in order."""
        return list(self._file.schema_arrow.names)

    def take(self, indices: pa.Array) -> StoredFeatures:
        """Some of the rows, in the order asked for; nothing is read."""
        places = np.asarray(indices.to_numpy(), dtype=np.int64)
        rows = places if self._rows is None else self._rows[places]
        return StoredFeatures(self._file, self._starts, rows)

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """One column, read whole."""
        return self._read([name])[name]

    def table(self) -> pa.Table:
        """All columns, in memory."""
        return self._read(self.column_names)

    def _read(self, names: list[str]) -> pa.Table:
        if self._rows is None:
            return pa.concat_tables(self._parts(names, np.arange(self.num_rows)))
        rows = self._rows
        if np.all(rows[1:] > rows[:-1]):
            return pa.concat_tables(self._parts(names, rows))
        ascending, places = np.unique(rows, return_inverse=True)
        return pa.concat_tables(self._parts(names, ascending)).take(pa.array(places.reshape(-1)))

    def _parts(self, names: list[str], rows: NDArray[np.int64]) -> Iterator[pa.Table]:
        """Of ascending rows, those of each row group."""
        cuts = np.searchsorted(rows, self._starts)
        yield self._file.schema_arrow.empty_table().select(names)
        for group in np.flatnonzero(np.diff(cuts)):
            own = rows[cuts[group] : cuts[group + 1]] - self._starts[group]
            part = self._file.read_row_group(int(group), columns=names, use_threads=False)
            yield part if len(own) == part.num_rows else part.take(pa.array(own))


def fetched(
    fetch: Fetch, users: NDArray, instants: Instants, scratch: Path | None
) -> pa.Table | StoredFeatures:
    """Ask for features, of many rows in parts that go to a file.

    Parameters
    ----------
    fetch
        See :data:`trainer.examples.FetchFeatures`.
    users, instants
        # [rows]
    scratch
        Where the file is; by default with temporary files. It has no name and ends with whoever
        reads it.

    Returns
    -------
    features
        # [rows]
    """
    if len(users) <= FETCHED_ROWS:
        return fetch(users, instants)
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    # Without a name from the start: nothing is left of it, also where this process is killed.
    handle = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the reader keeps it
    with space_named("the features", scratch):
        _write(handle, fetch, users, instants)
    file = pq.ParquetFile(handle)
    sizes = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    return StoredFeatures(file, np.cumsum([0, *sizes]))


def _write(file: IO[bytes], fetch: Fetch, users: NDArray, instants: Instants) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for begin in range(0, len(users), FETCHED_ROWS):
            rows = slice(begin, begin + FETCHED_ROWS)
            table = fetch(users[rows], instants[rows])
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema, compression="lz4")
            writer.write_table(table, row_group_size=_GROUP_ROWS)
            del table
    finally:
        if writer is not None:
            writer.close()
