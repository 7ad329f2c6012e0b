"""Which published rows of a view are in force at an instant, and which of them are news."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import duckdb
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileSource
from feast.value_type import ValueType

from feature_repo.cells import entity_text_sql, row_schema, to_kind
from feature_repo.errors import BadInput
from feature_repo.packing import RowSchema
from feature_repo.queries import blaming
from feature_repo.session import literal
from feature_repo.sources import Snapshot

# Up to so many entities are named in the query, so that whole row groups can be skipped.
_FEW_ENTITIES = 1000
_BATCH_ROWS = 10_000

Stored = Iterable[Sequence[tuple[str, int, int | None, int]]]


@dataclass(frozen=True)
class RowsInForce:
    """A batch of rows.

    Attributes
    ----------
    entities : pyarrow.Array
        # [rows], as `cells.entity_text` writes them.
    events, created : pyarrow.Array
        # [rows], in microseconds since 1970.
    keys : pyarrow.RecordBatch
        # [rows], the columns of the join keys.
    features : list of pyarrow.Array
        # [features][rows], as `RowSchema.pack` takes them.
    """

    entities: pa.Array
    events: pa.Array
    created: pa.Array
    keys: pa.RecordBatch
    features: list[pa.Array]


class PublishedView:
    """The published rows of a feature view, read in one DuckDB session.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Temporary tables of this object live in it; one object at a time.
    snapshot : Snapshot
    view : FeatureView

    Raises
    ------
    BadInput
        If the source cannot be read, lacks a column, or has a type that cannot go online.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, view: FeatureView
    ):
        source = view.batch_source
        self.view = view
        self.schema: RowSchema = row_schema(view.features)
        self._connection = connection
        self._pinned = snapshot.pin(source, view.name)
        self._relation = relation = snapshot.relation(connection, source, view.name)
        assert source is not None  # its relation would have been refused
        old = {new: was for was, new in source.field_mapping.items()}
        self.join_keys = [f for f in view.entity_columns if f.name != DUMMY_ENTITY_ID]
        for field in self.join_keys:
            if field.dtype.to_value_type() not in (ValueType.STRING, ValueType.INT64):
                raise BadInput(
                    f"view {view.name}: join key {field.name} is {field.dtype}; a sync takes "
                    "String and Int64"
                )
        self._keys = [(f.name, relation.column(old.get(f.name, f.name))) for f in self.join_keys]
        self._features = [(f, relation.feature(old.get(f.name, f.name))) for f in view.features]
        event = source.timestamp_field
        self._instant = relation.instant(old.get(event, event))
        self._event = f"epoch_us({self._instant})"
        created = source.created_timestamp_column
        self._created = (
            f"epoch_us({relation.instant(old.get(created, created))})" if created else None
        )
        self._entity = entity_text_sql(self._keys) if self._keys else "''"
        self._known = " and ".join(f"{sql} is not null" for _, sql in self._keys) or "true"

    @property
    def has_created(self) -> bool:
        """Whether the source says when a row was made."""
        return self._created is not None

    @property
    def ttl(self) -> int:
        """How old a row may become, in microseconds; 0 for any age."""
        return (self.view.ttl or timedelta(0)) // timedelta(microseconds=1)

    def identity(self) -> str | None:
        """Return a text that changes with the file or the view's schema; None if there is none."""
        if not isinstance(self._pinned, FileSource) or not os.path.isfile(self._pinned.path):
            return None
        status = os.stat(self._pinned.path)
        shape = hashlib.sha256(self.schema.definition.encode()).hexdigest()[:16]
        return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{shape}"

    def clock(self) -> int | None:
        """Return when the newest row was made, in microseconds since 1970."""
        if self._created is None:
            return None
        return self._one(f"select max({self._created}) from {self._relation.sql}")

    def entities(self) -> Iterator[list[str]]:
        """Return every entity that has a row at some instant, in batches."""
        query = f"select distinct {self._entity} from {self._relation.sql} where {self._known}"
        for batch in self._batches(query):
            yield batch.column(0).to_pylist()

    def note_steps(self, after: int, until: int, others: Iterable[Sequence[str]]) -> int:
        """Note the entities that have a row in (`after`, `until`], and `others`; return how many.

        Until `note_latest` all entities are noted.
        """
        self._run("create or replace temp table noted (entity varchar)")
        for batch in others:
            self._insert("noted", {"entity": pa.array(batch, pa.string())})
        self._run(
            f"insert into noted select distinct {self._entity} from {self._relation.sql} "
            f"where {self._instant} > make_timestamp({after}) "
            f"and {self._instant} <= make_timestamp({until}) and {self._known}"
        )
        return self._one("select count(distinct entity) from noted")

    def noted(self) -> Iterator[list[str]]:
        """Return the entities noted, in batches."""
        with blaming(f"view {self.view.name}"):
            # Whole, because a stream would end with the next statement of the session.
            found = self._connection.sql("select distinct entity from noted").to_arrow_table()
        for batch in found.to_batches(_BATCH_ROWS):
            yield batch.column(0).to_pylist()

    def find_latest(self, instant: int, only_noted: bool) -> None:
        """Find each entity's row in force at `instant`, of those noted or of all.

        Of rows with one entity and instant the newest created wins, and among those the last one
        in the source.
        """
        where = [self._known, f"{self._instant} <= make_timestamp({instant})"]
        if only_noted:
            where.append(self._named("noted") or f"{self._entity} in (select entity from noted)")
        rows = (
            f"select {self._entity} as entity, {self._event} as event, "
            f"{self._created or 'cast(null as bigint)'} as created, "
            f"{self._relation.position} as position from {self._relation.sql} "
            f"where {' and '.join(where)}"
        )
        self._run(
            f"create or replace temp table latest as with rows as ({rows}), "
            "newest as (select entity, max(event) as event from rows group by entity) "
            "select rows.* from rows join newest using (entity, event) "
            f"where {self.ttl} = 0 or event >= {instant - self.ttl} "
            "qualify row_number() over "
            "(partition by entity order by created desc nulls last, position desc) = 1"
        )

    def compare(self, stored: Stored, schema: int) -> tuple[int, int]:
        """Compare the rows in force with what is stored.

        Parameters
        ----------
        stored : iterable of batches of (entity, event, created, schema)
            Of the entities that `find_latest` looked at.
        schema : int
            Number of the view's schema.

        Returns
        -------
        (int, int)
            Rows that differ, entities that are stored and have none.
        """
        self._run(
            "create or replace temp table stored "
            "(entity varchar, event bigint, created bigint, schema bigint)"
        )
        for batch in stored:
            if not batch:
                continue
            entity, event, created, number = zip(*batch, strict=True)
            self._insert(
                "stored",
                {
                    "entity": pa.array(entity, pa.string()),
                    "event": pa.array(event, pa.int64()),
                    "created": pa.array(created, pa.int64()),
                    "schema": pa.array(number, pa.int64()),
                },
            )
        self._run(
            "create or replace temp table changed as select latest.* from latest "
            "left join stored using (entity) where stored.event is distinct from latest.event "
            "or stored.created is distinct from latest.created "
            f"or stored.schema is distinct from {schema}"
        )
        self._run(
            "create or replace temp table gone as "
            "select entity from stored anti join latest using (entity)"
        )
        return self._one("select count(*) from changed"), self._one("select count(*) from gone")

    def take_all(self) -> int:
        """Take every row in force for changed; return how many."""
        self._run("create or replace temp table changed as from latest")
        return self._one("select count(*) from changed")

    def gone(self) -> Iterator[list[str]]:
        """Return the entities whose stored row is to go, in batches."""
        for batch in self._batches("select entity from gone"):
            yield batch.column(0).to_pylist()

    def changed(self) -> Iterator["RowsInForce"]:
        """Return the changed rows whole, in batches."""
        conditions = ["changed.position = rows.position"]
        # Where the source has no positions, entity and instant tell its rows apart.
        if self._relation.position == "0":
            conditions += ["changed.entity = rows.entity", "changed.event = rows.event"]
        keys = ", ".join(f"{sql} as k{n}" for n, (_, sql) in enumerate(self._keys))
        features = ", ".join(f"{sql} as f{n}" for n, (_, sql) in enumerate(self._features))
        columns = ", ".join(part for part in (keys, features) if part)
        where = self._named("changed") or "true"
        query = (
            f"select rows.*, changed.created from (select {self._entity} as entity, "
            f"{self._event} as event, {self._relation.position} as position, {columns} "
            f"from {self._relation.sql} where {self._known} and {where}) as rows "
            f"join changed on {' and '.join(conditions)}"
        )
        for batch in self._batches(query):
            yield RowsInForce(
                entities=batch.column("entity"),
                events=batch.column("event"),
                created=batch.column("created"),
                keys=pa.RecordBatch.from_arrays(
                    [batch.column(f"k{n}") for n in range(len(self._keys))],
                    names=[name for name, _ in self._keys],
                ),
                features=[
                    to_kind(batch.column(f"f{n}"), feature, self.view.name)
                    for n, (feature, _) in enumerate(self._features)
                ],
            )

    def _named(self, table: str) -> str | None:
        """Return a condition that names the entities of `table`; None if they are many."""
        few = self._connection.execute(
            f"select distinct entity from {table} limit {_FEW_ENTITIES + 1}"
        ).fetchall()
        # A NUL would end the text of the query.
        if len(few) > _FEW_ENTITIES or any("\0" in entity for (entity,) in few):
            return None
        texts = ", ".join(literal(entity) for (entity,) in few)
        return f"{self._entity} in ({texts})" if few else "false"

    def _insert(self, table: str, columns: dict[str, pa.Array]) -> None:
        self._connection.register("given", pa.table(columns))
        self._run(f"insert into {table} from given")
        self._connection.unregister("given")

    def _one(self, query: str):
        with blaming(f"view {self.view.name}"):
            return self._connection.execute(query).fetchall()[0][0]

    def _run(self, statement: str) -> None:
        with blaming(f"view {self.view.name}"):
            self._connection.execute(statement)

    def _batches(self, query: str) -> Iterator[pa.RecordBatch]:
        with blaming(f"view {self.view.name}"):
            yield from self._connection.sql(query).to_arrow_reader(_BATCH_ROWS)
