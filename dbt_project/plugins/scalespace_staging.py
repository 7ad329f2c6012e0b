"""The log as Parquet for an engine that is not to read its text, and what such a build left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb

FOLDERS = ("tables", "features", "labels")


def spark_tables(home: str) -> str:
    """Return a JSON list of ``[name, folder]`` of what an earlier build left in the home."""
    found = []
    for kind in FOLDERS:
        for folder in sorted((Path(home) / "spark" / kind).glob("*.parquet")):
            # A killed write has no such file.
            if (folder / "_SUCCESS").exists():
                found.append([folder.stem, str(folder)])
    return json.dumps(found)


def duckdb_columns(reader: str) -> str:
    """Return a JSON object of the columns that a table function of DuckDB has, name to type."""
    with duckdb.connect() as connection:
        rows = connection.execute(f"describe select * from {reader}").fetchall()
    return json.dumps(
        {name: kind for name, kind, *_ in rows if name not in ("__log_file", "file_row_number")}
    )


def stage_log(sql: str, target: str) -> str:
    """Write the rows of a query of DuckDB to a Parquet file, in a stream.

    Returns
    -------
    str
        What DuckDB says where the log cannot be read; empty where it could.
    """
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    partial = f"{target}.partial"
    try:
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            # The file is written in the order of the log.
            connection.execute(f"copy ({sql}) to {_literal(partial)} (format parquet)")
    except duckdb.Error as error:
        return str(error)
    os.replace(partial, target)
    return ""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
