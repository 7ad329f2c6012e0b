"""DuckDB sessions: one per request, always in UTC."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from feature_repo.errors import BadInput

# The name under which a session sees the database of its settings.
DATABASE = "given"


@dataclass(frozen=True)
class SessionSettings:
    """How to open a session.

    Attributes
    ----------
    threads : int, optional
        Default all cores.
    memory_limit : str, optional
        As DuckDB spells it, ``"4GB"``; default 80 % of the memory.
    temp_directory : str, optional
        Where to spill; default the system's temporary folder. Each session has a folder of its own
        in it, so that two processes never share one.
    database : str, optional
        A DuckDB file whose tables SQL may name. It is opened read-only.
    folder : str, optional
        To which relative paths in SQL refer; default the working directory.
    """

    threads: int | None = None
    memory_limit: str | None = None
    temp_directory: str | None = None
    database: str | None = None
    folder: str | None = None


_lookups: dict[int, duckdb.DuckDBPyConnection] = {}


@contextmanager
def lookup() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection that sees what local files are, and is to hold and attach nothing.

    A session takes 12 ms to open and close. This is one for the whole process, and takes none.
    """
    # A DuckDB does not survive a fork: each process has its own.
    process = os.getpid()
    if process not in _lookups:
        # What a file said before it was replaced must not be remembered.
        _lookups[process] = duckdb.connect(config={"enable_external_file_cache": False})
    connection = _lookups[process].cursor()
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def session(settings: SessionSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB, and close it and remove what it spilled.

    Raises
    ------
    BadInput
        If a setting is none that DuckDB takes, or the database cannot be opened.
    """
    folder = Path(settings.temp_directory or tempfile.gettempdir())
    spill = folder / f"scalespace-{uuid.uuid4().hex}"
    # Without a folder to spill into, a memory limit is an error and not a limit.
    config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(spill)}
    if settings.threads is not None:
        config["threads"] = settings.threads
    if settings.memory_limit is not None:
        config["memory_limit"] = settings.memory_limit
    try:
        connection = duckdb.connect(":memory:", config=config)
    except duckdb.Error as error:
        raise BadInput(f"offline_store settings: {first_line(error)}") from None
    try:
        connection.execute("set timezone = 'UTC'")
        # It would be written among what a command prints.
        connection.execute("set enable_progress_bar = false")
        # A name in a user's SQL is a table or a file, never a variable of this program.
        connection.execute("set python_enable_replacements = false")
        if settings.folder is not None:
            connection.execute(f"set file_search_path = {literal(settings.folder)}")
        if settings.database is not None:
            attach(connection, settings.database, DATABASE)
            connection.execute(f"use {DATABASE}")
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def attach(connection: duckdb.DuckDBPyConnection, path: str, name: str) -> None:
    """Attach a database file read-only.

    Raises
    ------
    BadInput
        If it does not exist, is no DuckDB file, or a process that writes to it holds it open.
    """
    try:
        connection.execute(attach_sql(path, name))
    except duckdb.Error as error:
        raise BadInput(f"database {path} cannot be opened: {first_line(error)}") from None


def attach_scratch(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Attach a new database file in the session's temporary folder, which goes with the session."""
    folder = Path(connection.execute("select current_setting('temp_directory')").fetchall()[0][0])
    folder.mkdir(parents=True, exist_ok=True)
    connection.execute(f"attach {literal(str(folder / f'{name}.duckdb'))} as {quote(name)}")


def attach_sql(path: str, name: str) -> str:
    """Return the statement that attaches a database file read-only."""
    return f"attach if not exists {literal(path)} as {quote(name)} (read_only)"


def quote(identifier: str) -> str:
    """Return `identifier` quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return `text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """Return what an error says, without the query that DuckDB prints below it."""
    return (str(error) or type(error).__name__).splitlines()[0]
