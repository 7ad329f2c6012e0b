"""dbt's statements, run in a DuckDB of their own over what a batch touches.

The relations have the names that the statements know, and hold the touched users' histories and
nothing else. They are emptied and filled again, never made again: on so little data most of the
time is DuckDB's planning, so statements that do not need each other run side by side.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainer.forgotten import Forgotten, pseudonym
from trainer.streaming.compiled import Model, Statements

WAREHOUSE = "warehouse"  # the database that compiled statements name
POSITION = "file_position"
FIRST_POSITION = 10**12  # of the journal's lines, as in the macro log_rows
# The rows of a batch are few; what the warning recommends binds a statement twice.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
# What a verdict adds to a row of the log; the rest is read again as the row that it was.
_JUDGED_ONLY = ("action_type", "verdict")


def read_log(
    statements: Statements,
    journal: Collection[Path],
    now: datetime,
    forgotten: Forgotten | None = None,
) -> tuple[pa.Table, int]:
    """Judge the whole log and the journal, as a build at `now` would.

    Parameters
    ----------
    statements
    journal
        The journal's files.
    now
        The clock, in UTC.
    forgotten
        Users whose rows are not read; nobody by default.

    Returns
    -------
    rows : pyarrow.Table
        Of each event id the row that counts, with its verdict; no duplicates.
    raw : int
        Rows of the log and lines of the journal.
    """
    with _connect(forgotten) as connection:
        _read_all(connection, statements, journal, now)
        raw = connection.execute("select count(*) from base_events").fetchall()
        rows = connection.sql(
            f"select * exclude (row_hash) from ({statements.staging['base_events__judged'].sql}) "
            "where verdict <> 'duplicate'"
        ).to_arrow_table()
        return rows, int(raw[0][0])


def only_in_journal(
    statements: Statements, journal: Collection[Path], now: datetime
) -> NDArray[np.int64]:
    """Find the events that the log's own files do not have.

    Parameters
    ----------
    statements, journal, now
        As in `read_log`.

    Returns
    -------
    numbers
        # [lines], ascending: the numbers of their lines.
    """
    with _connect() as connection:
        _read_all(connection, statements, journal, now)
        found = connection.sql(
            f"select {POSITION} - {FIRST_POSITION} as number from base_events "
            f"where {POSITION} > {FIRST_POSITION} and coalesce(event_id, row_hash) not in "
            "(select coalesce(event_id, row_hash) from base_events "
            f"where {POSITION} <= {FIRST_POSITION}) order by number"
        ).fetchnumpy()
        return np.asarray(found["number"], dtype=np.int64)


class Computation:
    """The relations and statements of one deployment.

    Parameters
    ----------
    statements : Statements
    references : mapping of str to pyarrow.Table
        Contents of ``statements.references``.
    threads : int
        Statements at a time.
    forgotten : Forgotten, optional
        Users whose rows are not read.
    """

    def __init__(
        self,
        statements: Statements,
        references: Mapping[str, pa.Table],
        threads: int = 2,
        forgotten: Forgotten | None = None,
    ):
        self.statements = statements
        self._connection = _connect(forgotten)
        self._pool = ThreadPoolExecutor(threads, "streaming-sql")
        self._thread = threading.local()
        self._steps: Future[dict[str, datetime]] = Future()
        run = self._connection.execute
        run("create table streaming.lines (line varchar)")
        # The log's columns and types, without a row of it.
        run(f"create table streaming.arrivals as select * from ({statements.log_rows}) limit 0")
        for name, table in references.items():
            self._connection.register("reference", table)
            run(f"create table {name} as from reference")
            self._connection.unregister("reference")
        for model in statements.staging.values():
            run(f"create table {model.name} as {model.sql}")
        # A history goes into staging as it comes, without a table of what was judged.
        judged = f'"{WAREHOUSE}"."main"."base_events__judged"'
        self._staged = statements.staging["stg_events"].sql.replace(judged, "incoming")
        self._read = {parent for view in statements.views for parent in view.parents}
        self._tables = ["stg_events", *(m.name for m in statements.intermediate)]
        for model in statements.intermediate:
            run(f"create table {model.name} as {model.sql}")
        for view in statements.views:
            if view.name in self._read:
                run(f"create table {view.name} as {view.sql}")
                self._tables.append(view.name)
        self.schema = (
            self._connection.sql("select * exclude (row_hash) from base_events__judged")
            .limit(0)
            .to_arrow_table()
            .schema
        )
        self.columns = [
            name
            for name in self._connection.table("streaming.arrivals").columns
            if name != "__log_position"
        ]

    def read(self, lines: Sequence[str], now: datetime) -> list[tuple[str, str | None]]:
        """Read new lines of the journal as staging does, to be judged next.

        Parameters
        ----------
        lines
            As the journal has them, or will have them.
        now
            The clock.

        Returns
        -------
        events
            Id and user of each.

        Raises
        ------
        duckdb.Error
            If an expression of the dataset file fails on one of them.
        """
        run = self._connection.execute
        for table in ("streaming.lines", "streaming.arrivals", "streaming.clock", "base_events"):
            run(f"truncate {table}")
        run("insert into streaming.clock values (?)", [_naive(now)])
        self._insert("streaming.lines", pa.table({"line": pa.array(lines, pa.string())}))
        run(f"insert into streaming.arrivals by name {self.statements.journal_rows}")
        run(f"insert into base_events {self.statements.staging['base_events'].sql}")
        return self._connection.sql(
            "select coalesce(event_id, row_hash), user_id from base_events"
        ).fetchall()

    def judge(self, known: pa.Table) -> pa.Table:
        """Give the lines that were just read their verdicts.

        Parameters
        ----------
        known
            The rows known already that the verdicts depend on, judged before.

        Returns
        -------
        rows
            The new rows and the known ones, with their verdicts of now.
        """
        if known.num_rows:
            # An id stands for the whole row where the log had none, and an arrival for an instant.
            self._insert("base_events", known.drop_columns(list(_JUDGED_ONLY)))
        return self._connection.sql(
            "select * exclude (row_hash) from "
            f"({self.statements.staging['base_events__judged'].sql})"
        ).to_arrow_table()

    def rows_in_force(self, history: pa.Table, now: datetime) -> Iterator[tuple[str, pa.Table]]:
        """Compute the rows in force at `now` of all users in `history`.

        Parameters
        ----------
        history
            Judged rows: all of each user.
        now
            The clock.

        Yields
        ------
        view, rows
            Of each view, as it is ready: at most one row a user; none for a user without an event
            at or before `now`.
        """
        run = self._connection.execute
        for table in (*self._tables, "streaming.touched"):
            run(f"truncate {table}")
        instant = _naive(now)
        self._connection.register("incoming", history)
        try:
            run(f"insert into stg_events {self._staged}")
        finally:
            self._connection.unregister("incoming")
        # The row in force is one from the last event on: no step before it is asked for, and none
        # after now.
        run(
            "insert into streaming.touched select user_id, max(event_timestamp), $now "
            "from stg_events where event_timestamp <= $now group by user_id",
            {"now": instant},
        )
        # The first of the models runs alone, so this costs no time beside it.
        self._steps = self._pool.submit(self._find_next_steps, instant)
        try:
            yield from self._run_models(instant)
        finally:
            wait([self._steps])

    def next_steps(self) -> dict[str, datetime]:
        """When a row of each user of the last `rows_in_force` can change next without an event.

        An instant too early only costs a computation, so it is asked of all windows at once.
        """
        return self._steps.result()

    def close(self) -> None:
        """Release the threads and the memory."""
        self._pool.shutdown()
        self._connection.close()

    def _find_next_steps(self, now: datetime) -> dict[str, datetime]:
        # Of an event the next step is that of the narrowest window that it has not left yet.
        ahead = "\n".join(
            f"when event_timestamp > $now - to_microseconds({width}) "
            f"then event_timestamp + to_microseconds({width})"
            for width in self.statements.steps_us
        )
        rows = self._cursor().execute(
            f"select user_id, min(case {ahead} end) as step from stg_events "
            "group by user_id having step is not null",
            {"now": now},
        )
        return dict(rows.fetchall())

    def _run_models(self, now: datetime) -> Iterator[tuple[str, pa.Table]]:
        models = {m.name: m for m in (*self.statements.intermediate, *self.statements.views)}
        views = {view.name for view in self.statements.views}
        waiting = dict(models)
        done: set[str] = set()
        running: dict[Future[pa.Table | None], str] = {}
        try:
            while waiting or running:
                for name, model in list(waiting.items()):
                    if done.issuperset(model.parents):
                        del waiting[name]
                        running[self._pool.submit(self._run, model, name in views, now)] = name
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    name = running.pop(future)
                    rows = future.result()
                    done.add(name)
                    if rows is not None:
                        yield name, rows
        finally:
            wait(running)

    def _run(self, model: Model, is_view: bool, now: datetime) -> pa.Table | None:
        cursor = self._cursor()
        if not is_view:
            cursor.execute(f"insert into {model.name} {model.sql}")
            return None
        source = f"({model.sql})"
        if model.name in self._read:
            cursor.execute(f"insert into {model.name} {model.sql}")
            source = model.name
        # Not cursor.sql(): binding twice is a third of the time of a small statement.
        found: pa.Table = cursor.execute(f"from {source}").to_arrow_table()
        if _is_in_force(found, now):
            return found
        # A view of which the SQL makes more than the row in force.
        cursor.register("steps", found)
        try:
            found = cursor.execute(
                "from steps where event_timestamp <= ? qualify row_number() over "
                "(partition by user_id order by event_timestamp desc) = 1",
                [now],
            ).to_arrow_table()
        finally:
            cursor.unregister("steps")
        return found

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's own way to the database."""
        if not hasattr(self._thread, "cursor"):
            self._thread.cursor = self._connection.cursor()
            self._thread.cursor.execute(f"use {WAREHOUSE}; set TimeZone = 'UTC'")
        return self._thread.cursor

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._connection.register("incoming", rows)
        try:
            self._connection.execute(f"insert into {table} by name from incoming")
        finally:
            self._connection.unregister("incoming")


def _is_in_force(rows: pa.Table, now: datetime) -> bool:
    """Whether there is one row of each user, and none from after `now`."""
    if not rows.num_rows:
        return True
    last = pc.max(rows["event_timestamp"]).as_py()
    return last <= now and pc.count_distinct(rows["user_id"]).as_py() == rows.num_rows


def _read_all(
    connection: duckdb.DuckDBPyConnection,
    statements: Statements,
    journal: Collection[Path],
    now: datetime,
) -> None:
    """Make the relation base_events of all rows of the log and lines of the journal."""
    connection.execute("insert into streaming.clock values (?)", [_naive(now)])
    lines = "select null::varchar as line where false"
    if files := [str(file) for file in journal if file.stat().st_size]:
        lines = (
            f"select line from read_csv({_list(files)}, header = false, auto_detect = false, "
            "delim = chr(1), quote = '', escape = '', columns = {'line': 'VARCHAR'})"
        )
    connection.execute(f"create view streaming.lines as {lines}")
    connection.execute(
        "create view streaming.arrivals as select * from "
        f"({statements.log_rows}) union all by name select * from ({statements.journal_rows})"
    )
    connection.execute(f"create table base_events as {statements.staging['base_events'].sql}")


def _connect(forgotten: Forgotten | None = None) -> duckdb.DuckDBPyConnection:
    # Statements run side by side, each in a thread of its own: more threads for one of them only
    # get into each other's way on so few rows.
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"attach ':memory:' as {WAREHOUSE}")
    connection.execute(f"use {WAREHOUSE}")
    connection.execute("create schema streaming")
    connection.execute("create table streaming.clock (instant timestamp)")
    connection.execute("create table streaming.forgotten (salt varchar, hash varchar)")
    if forgotten is not None and forgotten.users:
        connection.executemany(
            "insert into streaming.forgotten values (?, ?)",
            [(forgotten.salt, each) for each in forgotten.users],
        )
    connection.create_function("scalespace_pseudonym", pseudonym, ["VARCHAR"], "VARCHAR")
    connection.execute(
        "create table streaming.touched "
        "(key varchar, touched_from timestamp, touched_until timestamp)"
    )
    return connection


def _naive(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None)


def _list(values: Collection[str]) -> str:
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"
