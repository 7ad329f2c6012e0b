"""Changes of a sync on their way into the file of packed rows."""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from feature_repo.online_layout import AHEAD, view_table
from feature_repo.packing import RowSchema

if TYPE_CHECKING:
    from feature_repo.online_database import OnlineDatabase


class Spool:
    """Changes of a sync, collected in SQLite's temporary database and written in one transaction.

    The temporary database spills to a file of its own, so that memory stays bounded, and collecting
    takes no lock.
    """

    def __init__(self, database: "OnlineDatabase", connection: sqlite3.Connection):
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

    def apply(self, view: str, schema: RowSchema, clock: int, until: int) -> tuple[int, int]:
        """Write the changes of `view`, in the caller's transaction.

        A row that was pushed and that the build does not know of yet stays (see `AHEAD`); a row
        that is there already is not written.

        Returns
        -------
        (int, int)
            Rows written, rows removed.
        """
        number = self._views.index(view)
        connection, bounds = self._connection, {"clock": clock, "until": until}
        self._database.create_view(view)
        written = connection.execute(
            f"insert into main.{view_table(view)} (entity, event, created, pushed, schema, packed) "
            f"select entity, event, created, 0, {self._database.schema_id(view, schema)}, packed "
            # In the order of the table, so that its pages are filled one after the other.
            f"from temp.changed_{number} where true order by entity "
            "on conflict do update set event = excluded.event, created = excluded.created, "
            "pushed = 0, schema = excluded.schema, packed = excluded.packed "
            f"where not ({AHEAD}) and (pushed, event, created, schema, packed) is not "
            "(0, excluded.event, excluded.created, excluded.schema, excluded.packed)",
            bounds,
        ).rowcount
        removed = connection.execute(
            f"delete from main.{view_table(view)} where entity in "
            f"(select entity from temp.gone_{number}) and not ({AHEAD})",
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
