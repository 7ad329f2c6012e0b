"""What a historical request asks for: rows of keys and an instant, however they are given."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import BadInput
from feature_repo.session import first_line, literal
from feature_repo.sources import instant

EVENT_TIMESTAMP = "event_timestamp"

# The table of the asked rows in a session, and its columns: the row's number, its instant, and,
# where the rows come from SQL, `extra(i)` for each of their columns.
ROWS, POSITION, INSTANT = "entity_rows", "r", "t"
# How `to_sql` calls a frame that is no SQL.
FRAME = "entity_df"

_OFFSET = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")


@dataclass(frozen=True)
class EntityFrame:
    """The asked rows.

    Attributes
    ----------
    schema : pyarrow.Schema
        Their columns, as they come back.
    timestamp : str
        Which column says when a row asks.
    table, instants : pyarrow.Table and pyarrow.Array, optional
        The rows, and when each asks in naive UTC microseconds; null asks for nothing.  # [rows]
    query : str, optional
        SQL that gives the rows, where they are not in memory.
    setup : tuple of str
        Statements that a session runs before `query`.
    """

    schema: pa.Schema
    timestamp: str
    table: pa.Table | None = None
    instants: pa.Array | None = None
    query: str | None = None
    setup: tuple[str, ...] = ()

    @classmethod
    def of_pandas(cls, frame: pd.DataFrame) -> "EntityFrame":
        """Return the rows of a DataFrame; its index is left out.

        Raises
        ------
        BadInput
            If a column comes twice or has mixed types, or no column is the timestamp.
        """
        if not frame.columns.is_unique:
            repeated = frame.columns[frame.columns.duplicated()][0]
            raise BadInput(f"the entity frame has column {repeated} twice; rename one")
        for name in frame.columns:
            if not isinstance(name, str):
                raise BadInput(f"the entity frame has a column named {name!r}; make it a text")
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except pa.ArrowException as error:
            _refuse_mixed_zones(frame)
            raise BadInput(f"the entity frame has a column of mixed types: {error}") from None
        table = table.replace_schema_metadata()
        timestamp = _timestamp_column(table.schema)
        # Arrow makes timestamps of a column of objects too, whatever zones they have.
        if pd.api.types.is_datetime64_any_dtype(frame[timestamp]):
            instants = _microseconds(table.column(timestamp), timestamp)
        else:
            instants = _instants(frame[timestamp], timestamp)
        return cls(table.schema, timestamp, table, instants)

    @classmethod
    def of_arrow(cls, table: pa.Table) -> "EntityFrame":
        """Return the rows of a table."""
        for name in table.column_names:
            if table.column_names.count(name) > 1:
                raise BadInput(f"the entity frame has column {name} twice; rename one")
        timestamp = _timestamp_column(table.schema)
        column = table.column(timestamp)
        if pa.types.is_timestamp(column.type):
            instants = _microseconds(column, timestamp)
        else:
            instants = _instants(column.to_pandas(), timestamp)
        return cls(table.schema, timestamp, table, instants)

    @classmethod
    def of_sql(
        cls,
        connection: duckdb.DuckDBPyConnection,
        query: str,
        setup: Sequence[str] = (),
        names: Sequence[str] | None = None,
    ) -> "EntityFrame":
        """Return the rows that a ``select`` gives; it runs when the result is asked for.

        Parameters
        ----------
        names : sequence of str, optional
            What its columns are called; default as in the query. DuckDB takes names that differ in
            case alone for one.

        Raises
        ------
        BadInput
            If DuckDB cannot bind it, or no column is the timestamp.
        """
        query = query.strip().rstrip(";")
        try:
            for statement in setup:
                connection.execute(statement)
            # In a line of its own: the query may end in a comment.
            schema = connection.sql(f"select * from (\n{query}\n) limit 0").to_arrow_table().schema
        except duckdb.Error as error:
            raise BadInput(f"entity_df: the SQL does not run ({first_line(error)})") from None
        if names is not None:
            schema = pa.schema(
                field.with_name(name) for field, name in zip(schema, names, strict=True)
            )
        timestamp = _timestamp_column(schema)
        if not pa.types.is_timestamp(schema.field(timestamp).type):
            raise BadInput(
                f"entity_df: column {timestamp} is {schema.field(timestamp).type}; cast it to "
                "TIMESTAMP"
            )
        return cls(schema, timestamp, query=query, setup=tuple(setup))

    def is_empty(self, column: str) -> bool:
        """Return whether a column is known to hold nothing but nulls."""
        if self.table is None:
            return pa.types.is_null(self.schema.field(column).type)
        return self.table.column(column).null_count == self.table.num_rows

    def bounds(
        self, connection: duckdb.DuckDBPyConnection
    ) -> tuple[datetime | None, datetime | None]:
        """Return the first and the last naive UTC instant; of rows from SQL by running it."""
        if self.instants is not None:
            first, last = pc.min_max(self.instants).values()
            return first.as_py(), last.as_py()
        for statement in self.setup:
            connection.execute(statement)
        query = f"select min({INSTANT}), max({INSTANT}) from ({self.rows_sql()})"
        return connection.execute(query).fetchall()[0]

    def create(self, connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> int:
        """Make the table `ROWS` in a session and return how many rows it has.

        Parameters
        ----------
        keys : sequence of str
            The columns that views join on, which the table has under their names by `key`.
        """
        if self.table is None:
            for statement in self.setup:
                connection.execute(statement)
            try:
                connection.execute(f"create temp table {ROWS} as {self.rows_sql()}")
            except duckdb.Error as error:
                raise BadInput(f"entity_df: the SQL does not run ({first_line(error)})") from None
            return connection.execute(f"select count(*) from {ROWS}").fetchall()[0][0]
        columns = {self.column(key): _plain(self.table.column(key)) for key in keys}
        columns[INSTANT] = self.instants
        columns[POSITION] = pa.array(np.arange(self.table.num_rows))
        connection.register(ROWS, pa.table(columns))
        return self.table.num_rows

    def rows_sql(self) -> str:
        """Return a ``select`` of the rows as the table `ROWS` has them."""
        query = self.query or f"select * from {FRAME}"
        names = [self.column(name) for name in self.schema.names]
        # DuckDB hands on an Arrow table's nanoseconds and zones as they are.
        kind = self.schema.field(self.timestamp).type
        is_nanoseconds = pa.types.is_timestamp(kind) and kind.unit == "ns"
        when = instant(
            self.column(self.timestamp), "TIMESTAMP_NS" if is_nanoseconds else "other", up=False
        )
        return (
            f"select row_number() over () - 1 as {POSITION}, {when} as {INSTANT}, * "
            f"from (\n{query}\n) as given({', '.join(names)})"
        )

    def column(self, name: str) -> str:
        """Return the name that a column has in `ROWS`, where no user's name can collide."""
        return f"c{self.schema.get_field_index(name)}"


def rows_of_range(
    connection: duckdb.DuckDBPyConnection,
    selects: Sequence[tuple[dict[str, str], str, str]],
    start: datetime,
    end: datetime,
    aware: bool,
    setup: Sequence[str],
) -> EntityFrame:
    """Return the distinct keys and instants that views have in [`start`, `end`], ordered.

    Parameters
    ----------
    selects : sequence of (dict, str, str)
        Of each view: SQL of each key by its column, SQL of the instant, and what to select from.
    start, end : datetime
        Naive UTC.
    aware : bool
        Whether the timestamp carries the zone UTC or none.
    setup : sequence of str
        Statements that a session runs before it reads the views.
    """
    keys = list(dict.fromkeys(key for columns, _, _ in selects for key in columns))
    names = [f"k{i}" for i in range(len(keys))]
    parts = []
    for columns, when, source in selects:
        chosen = [
            f"{columns[key]} as {name}"
            for key, name in zip(keys, names, strict=True)
            if key in columns
        ]
        conditions = [
            f"{when} >= timestamp {literal(start.isoformat(' '))}",
            f"{when} <= timestamp {literal(end.isoformat(' '))}",
            *(f"{sql} is not null" for sql in columns.values()),
        ]
        parts.append(
            f"select {', '.join([*chosen, f'{when} as {INSTANT}'])} from {source} "
            f"where {' and '.join(conditions)}"
        )
    zone = " at time zone 'UTC'" if aware else ""
    union = "\nunion by name\n".join(parts)
    query = (
        f"select distinct {', '.join([*names, f'{INSTANT}{zone} as {INSTANT}'])} "
        f"from (\n{union}\n) order by {', '.join([INSTANT, *names])}"
    )
    return EntityFrame.of_sql(connection, query, setup, [*keys, EVENT_TIMESTAMP])


def _timestamp_column(schema: pa.Schema) -> str:
    if EVENT_TIMESTAMP in schema.names:
        return EVENT_TIMESTAMP
    candidates = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    if len(candidates) == 1:
        return candidates[0]
    found = f"it has {len(candidates)} others ({', '.join(candidates)})" if candidates else "none"
    raise BadInput(
        f"the entity frame has no timestamp column {EVENT_TIMESTAMP}, and {found}; name the one "
        f"that says when a row asks {EVENT_TIMESTAMP}"
    )


def _refuse_mixed_zones(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        if _has_mixed_zones(frame[name]):
            raise BadInput(
                f"entity frame, column {name}: some timestamps have a time zone and some have "
                "none; give all of them one"
            )


def _has_mixed_zones(column: pd.Series) -> bool:
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return False
    known = column.dropna()
    if known.map(lambda value: isinstance(value, str)).all():
        aware = known.map(lambda value: _OFFSET.search(value[10:]) is not None)
    elif known.map(lambda value: isinstance(value, datetime)).all():
        aware = known.map(lambda value: value.tzinfo is not None)
    else:
        return False
    return bool(aware.any() and not aware.all())


def _instants(column: pd.Series, name: str) -> pa.Array:
    if pd.api.types.is_numeric_dtype(column) and len(column):
        raise BadInput(
            f"entity frame, column {name}: numbers; convert them with pandas.to_datetime"
        )
    _refuse_mixed_zones(column.to_frame(name))
    try:
        # pandas would first look for repeated instants, which costs more than to read them.
        instants = pd.to_datetime(column, utc=True, format="ISO8601", cache=False)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"entity frame, column {name}: not a timestamp ({reason})") from None
    # Rounded down: a row that asks between two microseconds must not see the later one.
    naive = instants.dt.floor("us").dt.tz_localize(None)
    return pa.array(naive.astype("datetime64[us]"), pa.timestamp("us"))


def _microseconds(column: pa.ChunkedArray, name: str) -> pa.Array:
    if column.type.unit != "ns":
        try:
            kept = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.timestamp("us"))
        except pa.ArrowInvalid as error:
            raise BadInput(f"entity frame, column {name}: not a timestamp ({error})") from None
        return _one_array(kept)
    # Rounded down: who asks between two microseconds must not see the later one. On the numbers:
    # what pandas and Arrow have for it takes ten times as long.
    counts = _one_array(column.cast(pa.int64()))
    known = counts.is_valid().to_numpy(zero_copy_only=False)
    floored = counts.fill_null(0).to_numpy() // 1000
    return pa.array(floored, pa.int64(), mask=~known).cast(pa.timestamp("us"))


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column
