"""The SQLite file of packed rows: one table a view, one row an entity.

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
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from feature_repo.errors import BadInput
from feature_repo.packing import RowSchema

BUSY_TIMEOUT_S = 30
_APPLICATION_ID = 0x5363_616C  # "Scal": the file is one of ours
_LAYOUT = 1
_KEYS_A_QUERY = 1000
_TOGETHER = 16  # entities that one query reads from all views: for so few, a query each costs more
_PAGE_BYTES = 8192  # the widest rows are some kilobytes: fewer of them spill over to other pages

_TABLES = """
create table schemas (
    id integer primary key,
    view text not null,
    definition text not null,
    unique (view, definition)
);
create table synced (
    view text primary key,
    instant integer not null,
    source text,
    clock integer
) without rowid;
"""


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
    which they are written; of one instant the one created last; of those the one written last.
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
                f"create table if not exists {_table(view)} (entity text primary key, "
                "event integer not null, created integer, pushed integer not null, "
                "schema integer not null, packed blob not null) without rowid"
            )
            connection.execute(
                f"create index if not exists {_quoted('pushed ' + _name(view))} on {_table(view)} "
                "(entity) where pushed = 1"
            )

    def has_view(self, view: str) -> bool:
        """Return whether there is a table of `view`."""
        found = self.connection().execute(
            "select 1 from sqlite_schema where type = 'table' and name = ?", [_name(view)]
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
            connection.execute(f"drop table if exists {_table(view)}")
            connection.execute("delete from schemas where view = ?", [view])
            connection.execute("delete from synced where view = ?", [view])

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
        self, view: str, schema: RowSchema, rows: Iterable[tuple[str, int, int | None, bytes]]
    ) -> None:
        """Write rows (entity, event, created, packed) that no sync has made; the newest stay."""
        with self.writing() as connection:
            self.create_view(view)
            connection.executemany(
                f"insert into {_table(view)} (entity, event, created, pushed, schema, packed) "
                f"values (?, ?, ?, 1, {self.schema_id(view, schema)}, ?) "
                "on conflict do update set event = excluded.event, created = excluded.created, "
                "pushed = 1, schema = excluded.schema, packed = excluded.packed "
                # A row without a creation time is older than one with it.
                "where (excluded.event, ifnull(excluded.created, -9223372036854775808)) >= "
                "(event, ifnull(created, -9223372036854775808))",
                rows,
            )

    def read(self, view: str, entities: Sequence[str]) -> StoredRows:
        """Return the rows of those of `entities` that have one."""
        found: dict[str, tuple] = {}
        connection = self.connection()
        for start in range(0, len(entities), _KEYS_A_QUERY):
            some = entities[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            try:
                rows = connection.execute(
                    f"select entity, event, schema, packed from {_table(view)} "
                    f"where entity in ({marks})",
                    some,
                )
            except sqlite3.OperationalError:
                if self.has_view(view):
                    raise
                return StoredRows({}, {})
            found.update((row[0], row) for row in rows)
        return self._stored(found)

    def read_views(self, views: Sequence[str], entities: Sequence[str]) -> list[StoredRows]:
        """Return what `read` does of several views, all as of one instant."""
        if len(entities) <= _TOGETHER:
            try:
                with self.explained():
                    query = _query(tuple(views), len(entities))
                    rows = self.connection().execute(query, entities).fetchall()
            except sqlite3.OperationalError:
                pass  # a view without a table: each by itself
            else:
                found: list[dict[str, tuple]] = [{} for _ in views]
                for row in rows:
                    found[row[4]][row[0]] = row
                return [self._stored(each) for each in found]
        with self.reading():
            return [self.read(view, entities) for view in views]

    def _stored(self, rows: dict[str, tuple]) -> StoredRows:
        schemas: dict[int, RowSchema] = {}
        for row in rows.values():
            if row[2] not in schemas:
                schemas[row[2]] = self._schema(row[2])
        return StoredRows(rows, schemas)

    def entities(self, view: str, batch: int = 50_000) -> Iterator[list[str]]:
        """Return the entities of `view`, in batches."""
        if self.has_view(view):
            rows = self.connection().execute(f"select entity from {_table(view)} order by entity")
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
        """Return (entity, event, created, schema) of the rows of `view`, in batches.

        A pushed row has schema -1: it is not what a sync has written.
        """
        if self.has_view(view):
            where = "where pushed = 1" if pushed_only else ""
            rows = self.connection().execute(f"select {_STORED} from {_table(view)} {where}")
            while some := rows.fetchmany(batch):
                yield some

    def stored_of(
        self, view: str, entities: Sequence[str]
    ) -> list[tuple[str, int, int | None, int]]:
        """Return what `stored` does, of those of `entities` that have a row."""
        found: list[tuple[str, int, int | None, int]] = []
        if self.has_view(view):
            for start in range(0, len(entities), _KEYS_A_QUERY):
                some = entities[start : start + _KEYS_A_QUERY]
                found += self.connection().execute(
                    f"select {_STORED} from {_table(view)} "
                    f"where entity in ({','.join('?' * len(some))})",
                    some,
                )
        return found

    def ahead(
        self, view: str, clock: int, instant: int, batch: int = 50_000
    ) -> Iterator[list[str]]:
        """Return the entities of `view` with a row that a sync would leave, in batches."""
        if self.has_view(view):
            rows = self.connection().execute(
                f"select entity from {_table(view)} where {_AHEAD}",
                {"clock": clock, "instant": instant},
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

    def checkpoint(self) -> None:
        """Move what was written into the file itself; where somebody reads, as far as possible."""
        with suppress(sqlite3.OperationalError):
            self.connection().execute("pragma wal_checkpoint(truncate)").fetchall()

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
            if application != _APPLICATION_ID or layout != _LAYOUT:
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
                connection.execute(f"pragma user_version = {_LAYOUT}")
                connection.executescript(_TABLES)
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


_STORED = "entity, event, created, case when pushed then -1 else schema end"

# A row that was pushed after all that the build knows of: its event is in no published file yet.
_AHEAD = "pushed = 1 and ifnull(created, event) > :clock and event <= :instant"


class Spool:
    """Changes of a sync, collected in SQLite's temporary database and written in one transaction.

    The temporary database spills to a file of its own, so that memory stays bounded, and collecting
    takes no lock.
    """

    def __init__(self, database: OnlineDatabase, connection: sqlite3.Connection):
        self._database = database
        self._connection = connection
        self._views: list[str] = []
        connection.execute("pragma temp.cache_size = -16000")

    def add_view(self, view: str) -> None:
        """Begin with a view."""
        number = len(self._views)
        self._views.append(view)
        self._connection.execute(
            f"create temp table changed_{number} (entity text, event integer, created integer, "
            "packed blob)"
        )
        self._connection.execute(f"create temp table gone_{number} (entity text)")

    def change(self, rows: Iterable[tuple[str, int, int | None, bytes]]) -> None:
        """Collect rows (entity, event, created, packed) of the view that was added last."""
        self._fill(f"insert into temp.changed_{len(self._views) - 1} values (?, ?, ?, ?)", rows)

    def remove(self, entities: Iterable[str]) -> None:
        """Collect entities of the view that was added last whose row is to go."""
        number = len(self._views) - 1
        self._fill(f"insert into temp.gone_{number} values (?)", ((entity,) for entity in entities))

    def apply(self, view: str, schema: RowSchema, clock: int, instant: int) -> tuple[int, int]:
        """Write the changes of `view`, in the caller's transaction.

        A row that was pushed and that the build does not know of yet stays (see `_AHEAD`); a row
        that is there already is not written.

        Returns
        -------
        (int, int)
            Rows written, rows removed.
        """
        number = self._views.index(view)
        connection, bounds = self._connection, {"clock": clock, "instant": instant}
        self._database.create_view(view)
        written = connection.execute(
            f"insert into main.{_table(view)} (entity, event, created, pushed, schema, packed) "
            f"select entity, event, created, 0, {self._database.schema_id(view, schema)}, packed "
            # In the order of the table, so that its pages are filled one after the other.
            f"from temp.changed_{number} where true order by entity "
            "on conflict do update set event = excluded.event, created = excluded.created, "
            "pushed = 0, schema = excluded.schema, packed = excluded.packed "
            f"where not ({_AHEAD}) and (pushed, event, created, schema, packed) is not "
            "(0, excluded.event, excluded.created, excluded.schema, excluded.packed)",
            bounds,
        ).rowcount
        removed = connection.execute(
            f"delete from main.{_table(view)} where entity in "
            f"(select entity from temp.gone_{number}) and not ({_AHEAD})",
            bounds,
        ).rowcount
        return written, removed

    def drop(self) -> None:
        """Drop all that was collected."""
        with suppress(sqlite3.Error):
            for number in range(len(self._views)):
                self._connection.execute(f"drop table if exists temp.changed_{number}")
                self._connection.execute(f"drop table if exists temp.gone_{number}")

    def _fill(self, insert: str, rows: Iterable[tuple]) -> None:
        connection = self._connection
        connection.execute("begin")
        try:
            connection.executemany(insert, rows)
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise


@lru_cache(maxsize=128)
def _query(views: tuple[str, ...], entities: int) -> str:
    """One query for the rows of all views."""
    marks = ",".join(f"?{number}" for number in range(1, entities + 1))
    return " union all ".join(
        f"select entity, event, schema, packed, {number} from {_table(view)} "
        f"where entity in ({marks})"
        for number, view in enumerate(views)
    )


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _name(view: str) -> str:
    return f"rows of {view}"


def _table(view: str) -> str:
    return _quoted(_name(view))


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
