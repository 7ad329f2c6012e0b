"""The SQLite file of packed rows: one row a view and entity.

Write-ahead logging lets many processes read while one writes. Each thread has a connection of its
own, opened anew when the file was replaced or the process forked.
"""

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from feature_repo.errors import BadInput
from feature_repo.online_layout import (
    AHEAD,
    IS_NEWER,
    LAYOUT,
    ROW,
    STORED,
    STREAMED_AHEAD,
    STREAMED_ROW,
    TABLES,
    named,
    query_of,
    quoted,
    view_table,
    view_table_name,
)
from feature_repo.online_spool import Spool
from feature_repo.online_streamed import Streamed
from feature_repo.packing import RowSchema

BUSY_TIMEOUT_S = 30
_APPLICATION_ID = 0x5363_616C  # "Scal": the file is one of ours
_TOGETHER = 16  # entities that one query reads from all views: for so few, a query each costs more
_PAGE_BYTES = 8192  # the widest rows are some kilobytes: fewer of them spill over to other pages

_inherited: list[sqlite3.Connection] = []


class DamagedStore(BadInput):
    """The file is no database of ours, or no whole one."""


class StoredRows(NamedTuple):
    """Rows as they lie in the file; plain tuples, because a request reads hundreds.

    Attributes
    ----------
    rows : dict of str to (str, int, int, bytes, ...)
        By entity: the entity, the event timestamp in microseconds since 1970, the number of the
        schema, and the packed features; what follows is nobody's.
    schemas : dict of int to RowSchema
        The schemas of the rows, by number.
    """

    rows: dict[str, tuple]
    schemas: dict[int, RowSchema]


@dataclass(frozen=True)
class SyncMark:
    """What the rows of one view were synced from.

    Attributes
    ----------
    instant : int
        In microseconds since 1970.
    source : str or None
        Identity of the file that was read; None where it has none.
    clock : int or None
        Latest ``computed_at`` in it, in microseconds since 1970.
    """

    instant: int
    source: str | None
    clock: int | None


class OnlineDatabase:
    """A file of packed rows; objects for one path may be shared by threads.

    Parameters
    ----------
    path : Path
        The file; it is made when it is first needed.

    Notes
    -----
    Of two rows of one entity the one with the later event timestamp stays, whatever the order in
    which they are written; of one instant the one created last; of those the one written last. A
    streamed row stays before one that was synced, whatever the latter's instant is: it knows
    events that no build knows. The next sync says whether it still does.
    """

    _open: dict[str, "OnlineDatabase"] = {}
    _opening = threading.Lock()

    def __init__(self, path: Path):
        self.path = path
        self._thread = threading.local()

    @classmethod
    def at(cls, path: Path) -> "OnlineDatabase":
        """Return this process's object for a path."""
        key = str(path)
        with cls._opening:
            if key not in cls._open:
                cls._open[key] = cls(path)
            return cls._open[key]

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection, in autocommit mode.

        Raises
        ------
        DamagedStore
            If the file is no store of ours.
        """
        thread = self._thread
        # In a transaction the file is the one that it began with, although a new one lies there.
        if getattr(thread, "inside", False):
            return thread.connection
        identity = self._identity()
        if identity is None or identity != getattr(thread, "opened", None):
            self.close()
            with self.explained():
                thread.connection = self._connect()
            thread.opened = self._identity()
        return thread.connection

    def close(self) -> None:
        """Close this thread's connection."""
        thread = self._thread
        connection, thread.connection, thread.opened = (
            getattr(thread, "connection", None),
            None,
            None,
        )
        if connection is None:
            return
        if thread.process == os.getpid():
            connection.close()
        else:
            # A child must not close what its parent has open, not even by forgetting it.
            _inherited.append(connection)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn SQLite's errors into one line that says what to do.

        Raises
        ------
        DamagedStore
            If the file is damaged.
        BadInput
            If the disk is full, the file cannot be opened, or another process is writing for long.
        """
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise DamagedStore(
                    f"online store {self.path} is damaged ({error}): run `trainer sync`, which "
                    "sets it aside and makes it anew"
                ) from None
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise BadInput(
                    f"online store {self.path} cannot be written ({error}): make room on its "
                    "disk and run the command again; what was in force still is"
                ) from None
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BadInput(
                    f"online store {self.path}: another process has been writing for more than "
                    f"{BUSY_TIMEOUT_S} s; try again when it is done"
                ) from None
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY):
                raise BadInput(
                    f"online store {self.path} cannot be opened ({error}): check the folder and "
                    "its permissions"
                ) from None
            raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose queries all see the rows of one instant."""
        with self._transaction("begin") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose changes are seen all at once at the end, or never."""
        with self._transaction("begin immediate") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        thread = self._thread
        if getattr(thread, "inside", False):
            yield thread.connection
            return
        connection = self.connection()
        with self.explained():
            connection.execute(begin)
            thread.inside = True
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                # Numbers that were given in it are given again, to something else.
                thread.schemas.clear()
                thread.streamed.forget()
                raise
            finally:
                thread.inside = False

    # Tables and schemas

    def create_view(self, view: str) -> None:
        """Make the table of `view`, unless it is there."""
        if self.has_view(view):
            return
        with self.writing() as connection:
            connection.execute(
                f"create table if not exists {view_table(view)} (entity text primary key, "
                "event integer not null, created integer, pushed integer not null, "
                "schema integer not null, packed blob not null) without rowid"
            )
            index = quoted(f"pushed {view_table_name(view)}")
            connection.execute(
                f"create index if not exists {index} on {view_table(view)} (entity) "
                "where pushed = 1"
            )

    def has_view(self, view: str) -> bool:
        """Return whether there is a table of `view`."""
        found = self.connection().execute(
            "select 1 from sqlite_schema where type = 'table' and name = ?", [view_table_name(view)]
        )
        return found.fetchone() is not None

    def views(self) -> list[str]:
        """Return the views that have a table."""
        found = self.connection().execute(
            "select name from sqlite_schema where type = 'table' and name like 'rows of %'"
        )
        return [name.removeprefix("rows of ") for (name,) in found]

    def drop_view(self, view: str) -> None:
        """Delete the rows of `view` and all that is known of them."""
        with self.writing() as connection:
            connection.execute(f"drop table if exists {view_table(view)}")
            self.streamed.remove_view(view)
            for table in ("schemas", "synced"):
                connection.execute(f"delete from {table} where view = ?", [view])

    @property
    def streamed(self) -> Streamed:
        """What a stream has written, by this thread's connection."""
        self.connection()
        return self._thread.streamed

    def schema_id(self, view: str, schema: RowSchema) -> int:
        """Return the number that rows of this schema of `view` carry."""
        connection = self.connection()
        find = "select id from schemas where view = ? and definition = ?"
        row = connection.execute(find, [view, schema.definition]).fetchone()
        if row is None:
            connection.execute(
                "insert into schemas (view, definition) values (?, ?) on conflict do nothing",
                [view, schema.definition],
            )
            row = connection.execute(find, [view, schema.definition]).fetchone()
        return row[0]

    def _schema(self, number: int) -> RowSchema:
        # Of this thread's file: another one may have other numbers.
        known = self._thread.schemas
        schema = known.get(number)
        if schema is None:
            row = self.connection().execute("select definition from schemas where id = ?", [number])
            schema = known[number] = RowSchema.parse(row.fetchone()[0])
        return schema

    # Rows

    def push(
        self, view: str, schema: RowSchema, rows: Sequence[tuple[str, int, int | None, bytes]]
    ) -> None:
        """Write rows (entity, event, created, packed) that no sync has made; the newest stay."""
        with self.writing() as connection:
            self.create_view(view)
            connection.executemany(
                f"insert into {view_table(view)} (entity, event, created, pushed, schema, packed) "
                f"values (?, ?, ?, 1, {self.schema_id(view, schema)}, ?) "
                "on conflict do update set event = excluded.event, created = excluded.created, "
                "pushed = 1, schema = excluded.schema, packed = excluded.packed "
                f"where {IS_NEWER}",
                rows,
            )

    def stream(
        self, views: Iterable[tuple[str, RowSchema, Sequence[tuple[str, bytes]]]], instant: int
    ) -> None:
        """Write rows (entity, packed) of several views, in force at `instant`; the newest stay.

        They are left in the write-ahead log: call `checkpoint` when nobody waits.
        """
        self.connection().execute("pragma wal_autocheckpoint = 0")
        with self.writing():
            made = []
            for view, schema, rows in views:
                self.create_view(view)
                made.append((view, self.schema_id(view, schema), rows))
            self.streamed.write(made, instant)

    def read(self, view: str, entities: Sequence[str]) -> StoredRows:
        """Return the rows of those of `entities` that have one."""
        return self.read_views([view], entities)[0]

    def _loaded(self, view: str, entities: Sequence[str]) -> dict[str, tuple]:
        """The rows of the view's own table, by entity."""
        found: dict[str, tuple] = {}
        connection = self.connection()
        for marks, some in named(entities):
            try:
                rows = connection.execute(
                    f"select {ROW} from {view_table(view)} where entity in ({marks})", some
                )
            except sqlite3.OperationalError:
                if self.has_view(view):
                    raise
                return {}
            found.update((row[0], row) for row in rows)
        return found

    def read_views(self, views: Sequence[str], entities: Sequence[str]) -> list[StoredRows]:
        """Return what `read` does of several views, all as of one instant."""
        places = {view: place for place, view in enumerate(views)}
        found: list[dict[str, tuple]] = [{} for _ in views]
        streamed: list[tuple] = []
        if len(entities) <= _TOGETHER:
            try:
                with self.explained():
                    query = query_of(tuple(views), len(entities))
                    rows = self.connection().execute(query, entities).fetchall()
            except sqlite3.OperationalError:
                pass  # a view without a table: each by itself
            else:
                for row in rows:
                    if (place := row[5]) is not None:
                        found[place][row[0]] = row
                    else:
                        streamed.append(row)
                return self._merged(found, streamed, places)
        # As of one instant: a sync moves what was streamed into the other tables.
        with self.reading() as connection:
            for view, place in places.items():
                found[place] = self._loaded(view, entities)
            for marks, some in named(entities):
                streamed += connection.execute(
                    f"select {STREAMED_ROW} from streamed where entity in ({marks})", some
                )
            return self._merged(found, streamed, places)

    def _merged(
        self, found: list[dict[str, tuple]], streamed: list[tuple], places: dict[str, int]
    ) -> list[StoredRows]:
        """Rows of views, with those that were streamed in their places."""
        # Of the file that the rows are from: by now another one may lie there.
        pieces_of = self._thread.streamed.pieces
        for entity, instant, bundle, packed, *_ in streamed:
            for view, schema, piece in pieces_of(bundle, packed):
                if (place := places.get(view)) is None:
                    continue
                there = found[place].get(entity)
                # What a sync wrote is behind, whatever its instant is.
                if there is None or there[4] is None or (there[1], there[4]) <= (instant, instant):
                    found[place][entity] = (entity, instant, schema, piece, instant)
        return [self._stored(each) for each in found]

    def _stored(self, rows: dict[str, tuple]) -> StoredRows:
        schemas: dict[int, RowSchema] = {}
        for row in rows.values():
            if row[2] not in schemas:
                schemas[row[2]] = self._schema(row[2])
        return StoredRows(rows, schemas)

    def entities(self, view: str, batch: int = 50_000) -> Iterator[list[str]]:
        """Return the entities of `view`, in batches."""
        if self.has_view(view):
            rows = self.connection().execute(
                f"select entity from {view_table(view)} union select entity from streamed "
                f"where bundle in ({self.streamed.bundles_of(view)}) order by entity"
            )
            while some := rows.fetchmany(batch):
                yield [entity for (entity,) in some]

    # Sync

    def mark(self, view: str) -> SyncMark | None:
        """Return what the rows of `view` were synced from; None if they never were."""
        row = self.connection().execute(
            "select instant, source, clock from synced where view = ?", [view]
        )
        found = row.fetchone()
        return SyncMark(*found) if found else None

    def set_mark(self, view: str, mark: SyncMark) -> None:
        """Note what the rows of `view` are synced from, in the transaction that writes them."""
        self.connection().execute(
            "insert into synced (view, instant, source, clock) values (?, ?, ?, ?) on conflict do "
            "update set instant = excluded.instant, source = excluded.source, "
            "clock = excluded.clock where (excluded.instant, excluded.source, excluded.clock) "
            "is not (instant, source, clock)",
            [view, mark.instant, mark.source, mark.clock],
        )

    def forget_mark(self, view: str) -> None:
        """Forget what the rows of `view` were synced from."""
        self.connection().execute("delete from synced where view = ?", [view])

    def stored(
        self, view: str, batch: int = 50_000, pushed_only: bool = False
    ) -> Iterator[list[tuple[str, int, int | None, int]]]:
        """Return (entity, event, created, schema) of what `view` was loaded with, in batches.

        A pushed row has schema -1: it is not what a sync has written.
        """
        if self.has_view(view):
            where = "where pushed = 1" if pushed_only else ""
            rows = self.connection().execute(f"select {STORED} from {view_table(view)} {where}")
            while some := rows.fetchmany(batch):
                yield some

    def stored_of(
        self, view: str, entities: Sequence[str]
    ) -> list[tuple[str, int, int | None, int]]:
        """Return what `stored` does, of those of `entities` that have a row."""
        found: list[tuple[str, int, int | None, int]] = []
        if self.has_view(view):
            for marks, some in named(entities):
                found += self.connection().execute(
                    f"select {STORED} from {view_table(view)} where entity in ({marks})", some
                )
        return found

    def ahead(self, view: str, clock: int, until: int, batch: int = 50_000) -> Iterator[list[str]]:
        """Return the entities of `view` with a row that a sync would leave, in batches."""
        if self.has_view(view):
            rows = self.connection().execute(
                f"select entity from {view_table(view)} where {AHEAD} "
                "union select entity from streamed "
                f"where bundle in ({self.streamed.bundles_of(view)}) and {STREAMED_AHEAD}",
                {"clock": clock, "until": until},
            )
            while some := rows.fetchmany(batch):
                yield [entity for (entity,) in some]

    @contextmanager
    def spooling(self) -> Iterator["Spool"]:
        """Give a place for a sync's changes, which no reader or writer has to wait for."""
        connection = self.connection()
        spool = Spool(self, connection)
        try:
            with self.explained():
                yield spool
        finally:
            spool.drop()

    def set_aside(self) -> Path | None:
        """Give the file another name, so that a new one is made; return that name."""
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged")
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        try:
            os.replace(self.path, aside)
        except FileNotFoundError:
            return None
        return aside

    def remove(self) -> None:
        """Delete the file."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def checkpoint(self, how: Literal["passive", "truncate"] = "truncate") -> None:
        """Move what was written into the file itself; where somebody reads, as far as possible.

        A passive one waits for nobody, and leaves the write-ahead log as long as it is.
        """
        with suppress(sqlite3.OperationalError):
            self.connection().execute(f"pragma wal_checkpoint({how})").fetchall()

    # The file

    def _identity(self) -> tuple[int, int, int] | None:
        # An open file keeps its inode, so a replaced one cannot have the same.
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return os.getpid(), status.st_dev, status.st_ino

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            self._create()
        connection = _opened(self.path)
        try:
            (application,) = connection.execute("pragma application_id").fetchone()
            (layout,) = connection.execute("pragma user_version").fetchone()
            if application != _APPLICATION_ID or layout != LAYOUT:
                raise DamagedStore(
                    f"{self.path} is no online store of this version: run `trainer sync`, which "
                    "sets it aside and makes a new one"
                )
            # A commit is on the disk when it returns: what a stream has acknowledged is not lost.
            connection.execute("pragma synchronous = full")
        except BaseException:
            connection.close()
            raise
        self._thread.schemas = {}
        self._thread.streamed = Streamed(connection)
        self._thread.process = os.getpid()
        return connection

    def _create(self) -> None:
        # Made under another name and linked: whoever comes first makes it, and nobody sees half.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        try:
            connection = _opened(fresh)
            try:
                connection.execute(f"pragma page_size = {_PAGE_BYTES}")
                connection.execute("pragma journal_mode = wal")
                connection.execute(f"pragma application_id = {_APPLICATION_ID}")
                connection.execute(f"pragma user_version = {LAYOUT}")
                connection.executescript(TABLES)
            finally:
                connection.close()
            # What a deleted file left behind would be taken for the new one's.
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            with suppress(FileExistsError):
                os.link(fresh, self.path)
        finally:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{fresh}{suffix}").unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
