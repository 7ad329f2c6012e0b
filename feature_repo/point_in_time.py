"""The point-in-time join: for each row, each view's latest row at or before the row's instant."""

from dataclasses import dataclass
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.errors import BadInput
from feature_repo.session import quote
from feature_repo.sources import Relation

# Names inside the queries. Columns of a source are renamed to positions before they meet anything
# else, so that no name in a user's file can collide with these or with each other.
ROWS, INSTANT, POSITION = "entity_rows", "t", "r"

# Up to here a view is cut down to the keys that are asked for before it is joined: one row over 17
# views of 500,000 rows takes 0.1 s instead of 0.4 s. With all keys it would only cost.
FEW_ROWS = 1000

_TEXT, _INTEGER = pa.string(), pa.int64()


@dataclass(frozen=True)
class ViewJoin:
    """What to take from one view.

    Attributes
    ----------
    relation : Relation
    join_keys : tuple of (str, str)
        Column of the entity frame, column of the source.
    timestamp, created : str
        Columns of the source; `created`, where given, says which of several rows of one instant
        is the newest.
    ttl : timedelta
        A value older than this is null; one exactly this old is not. Zero means no limit.
    columns : tuple of str
        Columns of the source that hold the features.
    """

    relation: Relation
    join_keys: tuple[tuple[str, str], ...]
    timestamp: str
    created: str | None
    ttl: timedelta
    columns: tuple[str, ...]

    def check(self, rows: pa.Table) -> None:
        """Raise `BadInput` where the source or the entity frame does not fit."""
        relation = self.relation
        relation.require([*(source for _, source in self.join_keys), *self.columns])
        relation.instant(self.timestamp)
        if self.created:
            relation.instant(self.created)
        for entity, source in self.join_keys:
            column, stored = rows.column(entity), relation.types[source]
            if not _is_empty(column) and _is_text(column.type) != (stored == "VARCHAR"):
                raise BadInput(
                    f"view {relation.view}: join key {source} is {stored}, but column {entity} of "
                    f"the entity frame is {column.type}; convert the entity frame's column"
                )


def join(
    connection: duckdb.DuckDBPyConnection, keys: pa.Table, instants: pa.Array, view: ViewJoin
) -> pa.Table:
    """Return the features of `view` for each row, in the order of the rows.

    Parameters
    ----------
    keys : pyarrow.Table
        The columns of the entity frame that are join keys.  # [rows, keys]
    instants : pyarrow.Array
        When each row asks, naive UTC microseconds; null asks for nothing.  # [rows]
    view : ViewJoin

    Returns
    -------
    pyarrow.Table
        Columns ``f0``, ``f1``, ... in the order of ``view.columns``.  # [rows, features]

    Notes
    -----
    The as-of join keeps no order, so each row carries its position and the result is put back in
    place. One query per view: a chain of as-of joins would sort all features of the views before
    again for each next one (three times as slow with 8 views).
    """
    names = [f"k{i}" for i in range(len(view.join_keys))]
    table = pa.table(
        [
            *(_fit(keys.column(e), view.relation.types[s]) for e, s in view.join_keys),
            instants,
            pa.array(np.arange(len(instants))),
        ],
        names=[*names, INSTANT, POSITION],
    )
    connection.register(ROWS, table)
    try:
        found = connection.sql(_sql(view, names, len(instants) <= FEW_ROWS)).to_arrow_table()
    finally:
        connection.unregister(ROWS)
    place = np.empty(len(instants), dtype=np.int64)
    place[found.column(POSITION).to_numpy()] = np.arange(len(instants))
    return found.drop_columns([POSITION]).take(pa.array(place))


def _sql(view: ViewJoin, names: list[str], only_asked_keys: bool) -> str:
    relation = view.relation
    keys = [quote(source) for _, source in view.join_keys]
    instant = relation.instant(view.timestamp)
    selected = [
        *(f"{key} as {name}" for key, name in zip(keys, names, strict=True)),
        f"{instant} as {INSTANT}",
        *(f"{quote(column)} as f{i}" for i, column in enumerate(view.columns)),
    ]
    asked = ""
    if only_asked_keys and keys:
        asked = "where " + " and ".join(
            f"{key} in (select {name} from {ROWS})" for key, name in zip(keys, names, strict=True)
        )
    newest = ""
    if view.created:
        # Two rows of one instant: the as-of join would take either, run by run.
        newest = (
            f"qualify row_number() over (partition by {', '.join([*keys, instant])} "
            f"order by {relation.instant(view.created)} desc nulls last) = 1"
        )
    features = [f"f{i}" for i in range(len(view.columns))]
    values = [f"v.{f}" for f in features]
    if view.ttl:
        oldest = f"e.{INSTANT} - to_microseconds({view.ttl // timedelta(microseconds=1)})"
        values = [f"case when v.{INSTANT} >= {oldest} then v.{f} end as {f}" for f in features]
    conditions = [*(f"e.{name} = v.{name}" for name in names), f"e.{INSTANT} >= v.{INSTANT}"]
    return f"""
        with source as (
            select {", ".join(selected)} from {relation.sql} {asked} {newest}
        )
        select {", ".join(values)}, e.{POSITION}
        from {ROWS} e asof left join source v on {" and ".join(conditions)}
    """


def _fit(column: pa.ChunkedArray, stored: str) -> pa.ChunkedArray:
    """Return a key column in a type that compares exactly with the source's."""
    if _is_empty(column):
        # The type says nothing then: pandas calls an empty column float64 or object.
        return pa.chunked_array([pa.nulls(len(column), _TEXT if stored == "VARCHAR" else _INTEGER)])
    if pa.types.is_floating(column.type) and stored in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"):
        # pandas makes floats of integers beside nulls; as floats, neighbours above 2^53 are equal.
        try:
            return column.cast(_INTEGER)
        except pa.ArrowInvalid:
            return column
    return column


def _is_empty(column: pa.ChunkedArray) -> bool:
    return column.null_count == len(column)


def _is_text(data_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type)
