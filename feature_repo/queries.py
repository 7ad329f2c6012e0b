"""Queries that a retrieval job runs: their result as a stream of batches in its order."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import duckdb
import pyarrow as pa

from feature_repo import point_in_time
from feature_repo.entity_frame import POSITION, ROWS, EntityFrame
from feature_repo.errors import BadInput
from feature_repo.point_in_time import ViewJoin
from feature_repo.session import SessionSettings, attach_scratch, first_line, quote, session
from feature_repo.sources import Relation

# Up to so many values, 250 MB of numbers, an answer waits in memory; beyond, in a file that DuckDB
# compresses and does not keep in memory. Below, the file would cost a fifth of the time.
CELLS_IN_MEMORY = 2**25


class Query(Protocol):
    """What a retrieval job runs."""

    @contextmanager
    def open(self, batch_rows: int) -> Iterator[pa.RecordBatchReader]:
        """Run the query and give its result; at most a few batches of it are held at a time."""

    def sql(self) -> str:
        """Return statements that give the same result in DuckDB."""


@dataclass(frozen=True)
class TableQuery:
    """A result that is there already."""

    table: pa.Table

    @contextmanager
    def open(self, batch_rows: int) -> Iterator[pa.RecordBatchReader]:
        """Give the table."""
        yield self.table.to_reader(batch_rows)

    def sql(self) -> str:
        """Return the statement that reads the table where it is registered under its name."""
        return "select * from result"


@dataclass(frozen=True)
class SourceQuery:
    """A query over one source.

    Attributes
    ----------
    settings : SessionSettings
    relate : callable
        Returns the source's relation in a session.
    select : callable
        Returns the query's SQL.
    """

    settings: SessionSettings
    relate: Callable[[duckdb.DuckDBPyConnection], Relation]
    select: Callable[[Relation], str]

    @contextmanager
    def open(self, batch_rows: int) -> Iterator[pa.RecordBatchReader]:
        """Run the query and give its result."""
        with session(self.settings) as connection:
            relation = self.relate(connection)
            query = self.select(relation)
            with blaming(f"view {relation.view}"):
                yield connection.sql(query).to_arrow_reader(batch_rows)

    def sql(self) -> str:
        """Return statements that give the same result in DuckDB."""
        with session(self.settings) as connection:
            relation = self.relate(connection)
        return ";\n".join([*relation.setup, self.select(relation)])


@dataclass(frozen=True)
class HistoricalQuery:
    """Features of several views for the rows of an entity frame.

    Attributes
    ----------
    settings : SessionSettings
    rows : EntityFrame
    joins : tuple of ViewJoin
    outputs : tuple of (str, int, int)
        Name of each feature, number of its join, number of its column there.

    Notes
    -----
    An as-of join keeps no order. Each view's features are written to a table of their own in the
    order of the asked rows, and the tables are read side by side: no wide row is ever sorted, no
    column is carried through a join of another view, and a large answer lies in a file of DuckDB's
    temporary folder. So a stream of any length needs memory for one view at a time.
    """

    settings: SessionSettings
    rows: EntityFrame
    joins: tuple[ViewJoin, ...]
    outputs: tuple[tuple[str, int, int], ...]

    @contextmanager
    def open(self, batch_rows: int) -> Iterator[pa.RecordBatchReader]:
        """Run the query and give its result."""
        keys = list(dict.fromkeys(entity for join in self.joins for entity, _ in join.join_keys))
        with session(self.settings) as connection:
            count = self.rows.create(connection, keys)
            place = "memory.main"
            if count * len(self.outputs) > CELLS_IN_MEMORY:
                place = "scratch.main"
                attach_scratch(connection, "scratch")
            for number, join in enumerate(self.joins):
                join.relation.prepare(connection)
                few = count <= point_in_time.FEW_ROWS
                with blaming(f"view {join.relation.view}"):
                    # A few rows are answered before a whole view is looked through.
                    asked = [] if few else join.asked_range(connection, self.rows)
                    ties = few or join.has_ties(connection, asked)
                    features = join.sql(self.rows, few, ties, asked)
                    connection.execute(
                        f"create table {place}.{_table(number)} as "
                        f"select * exclude ({POSITION}) from ({features}) order by {POSITION}"
                    )
            with blaming("the request"):
                yield self._side_by_side(connection, place, batch_rows)

    def sql(self) -> str:
        """Return statements that give the same result in DuckDB.

        Where the entity frame is a DataFrame or a Table, it must be there as ``entity_df``.
        """
        steps = [f"{ROWS} as materialized (\n{self.rows.rows_sql()}\n)"]
        steps += [f"{_table(n)} as ({join.sql(self.rows)})" for n, join in enumerate(self.joins)]
        columns = [
            *(f"e.{self.rows.column(name)} as {quote(name)}" for name in self.rows.schema.names),
            *(f"{_table(join)}.f{i} as {quote(name)}" for name, join, i in self.outputs),
        ]
        joined = " ".join(f"join {_table(n)} using ({POSITION})" for n in range(len(self.joins)))
        setup = [*self.rows.setup, *(s for join in self.joins for s in join.relation.setup)]
        query = (
            f"with {', '.join(steps)}\nselect {', '.join(columns)} from {ROWS} e {joined} "
            f"order by e.{POSITION}"
        )
        return ";\n".join([*dict.fromkeys(setup), query])

    def _side_by_side(
        self, connection: duckdb.DuckDBPyConnection, place: str, batch_rows: int
    ) -> pa.RecordBatchReader:
        if not self.joins and self.rows.table is not None:
            return self.rows.table.to_reader(batch_rows)  # on demand features alone
        columns = [f"{_table(join)}.f{i}" for _, join, i in self.outputs]
        tables = [f"{place}.{_table(number)}" for number in range(len(self.joins))]
        names = [*self.rows.schema.names, *(name for name, _, _ in self.outputs)]
        if self.rows.table is None:
            columns = [*(f"{ROWS}.{self.rows.column(n)}" for n in self.rows.schema.names), *columns]
            tables = [ROWS, *tables]
        found = connection.sql(
            f"select {', '.join(columns)} from {' positional join '.join(tables)}"
        ).to_arrow_reader(batch_rows)
        if self.rows.table is None:
            schema = pa.schema(
                field.with_name(name) for field, name in zip(found.schema, names, strict=True)
            )
            batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in found)
        else:
            given = self.rows.table
            schema = pa.schema(
                [
                    *given.schema,
                    *(f.with_name(o[0]) for f, o in zip(found.schema, self.outputs, strict=True)),
                ]
            )
            batches = _beside(given, found, schema)
        return pa.RecordBatchReader.from_batches(schema, batches)


def _table(number: int) -> str:
    return f"v{number}"


def _beside(
    given: pa.Table, found: pa.RecordBatchReader, schema: pa.Schema
) -> Generator[pa.RecordBatch, None, None]:
    """Put the asked rows' own columns, which never went through DuckDB, before the features."""
    start = 0
    for batch in found:
        # A slice of an Arrow table is a view; only a batch that spans two chunks is copied.
        own = given.slice(start, batch.num_rows)
        start += batch.num_rows
        arrays = [_one(column) for column in own.columns]
        yield pa.RecordBatch.from_arrays([*arrays, *batch.columns], schema=schema)
    assert start == given.num_rows


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    # Chunks of a dictionary column may each have their own dictionary.
    chunks: Sequence[pa.Array] = column.unify_dictionaries().chunks
    return pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Turn DuckDB's errors into one line that says where they come from."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise BadInput(
            f"{what}: not enough memory ({first_line(error)}); raise offline_store.memory_limit, "
            "or name a temp_directory with more room"
        ) from None
    except duckdb.Error as error:
        raise BadInput(f"{what} cannot be read ({first_line(error)})") from None
