"""Whether an identifier stands in a file: in a column, a key, or as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb

_WAREHOUSE = "warehouse.duckdb"
_SHORTEST = 4  # bytes: a shorter identifier stands in others' bytes by chance


def files_with(home: Path, user: str) -> Iterator[Path]:
    """Files of a home that hold a user's identifier: in a column, a key, or as bytes.

    An identifier of fewer than four bytes is looked for in columns and keys alone: in others'
    bytes it would stand by chance.
    """
    searched = user.encode()
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        if path.is_symlink():
            continue
        if (
            (path.suffix == ".parquet" and _in_parquet(path, user))
            or (path.name == _WAREHOUSE and _in_warehouse(path, user))
            or (len(searched) >= _SHORTEST and holds(path, searched))
        ):
            yield path


def holds(path: Path, searched: bytes) -> bool:
    """Whether bytes stand in a file, also across the edge of two blocks."""
    before = b""
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            if searched in before + block:
                return True
            before = block[-len(searched) :]
    return False


def _in_parquet(path: Path, user: str) -> bool:
    with duckdb.connect() as connection:
        return _in_relation(connection, f"read_parquet('{quoted(path)}')", user)


def _in_warehouse(path: Path, user: str) -> bool:
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where not internal"
        ).fetchall()
        return any(_in_relation(connection, f'"{s}"."{t}"', user) for s, t in tables)


def _in_relation(connection: duckdb.DuckDBPyConnection, relation: str, user: str) -> bool:
    columns = [
        row[0]
        for row in connection.execute(f"describe select * from {relation}").fetchall()
        if row[1] == "VARCHAR"
    ]
    if not columns:
        return False
    where = " or ".join(f'"{name}" = $user' for name in columns)
    query = f"select 1 from {relation} where {where} limit 1"
    return connection.execute(query, {"user": user}).fetchone() is not None


def quoted(path: Path) -> str:
    """A path as text of SQL."""
    return str(path).replace("'", "''")
