"""One DuckDB session per request, always in UTC."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


@contextmanager
def session(
    threads: int | None = None,
    memory_limit: str | None = None,
    temp_directory: str | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB, and close it and remove what it spilled.

    Parameters
    ----------
    threads : int, optional
        Default all cores.
    memory_limit : str, optional
        As DuckDB spells it, ``"4GB"``; default 80 % of the memory.
    temp_directory : str, optional
        Where to spill; default the system's temporary folder. Each session has a folder of its own
        in it, so that two processes never share one.
    """
    spill = Path(temp_directory or tempfile.gettempdir()) / f"scalespace-{uuid.uuid4().hex}"
    # Without a folder to spill into, a memory limit is an error and not a limit.
    config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(spill)}
    if threads is not None:
        config["threads"] = threads
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("set timezone = 'UTC'")
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def quote(identifier: str) -> str:
    """Return `identifier` quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'
