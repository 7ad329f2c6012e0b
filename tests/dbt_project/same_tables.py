"""Compare everything that two builds made, row for row."""

from __future__ import annotations

from pathlib import Path

import duckdb

# When a row was computed depends on the builds before, and what changed on the reading before.
HISTORY = "computed_at"
CHANGES = {"event_changes"}


def table_differences(home: Path, other: Path) -> list[str]:
    """What differs between the published files and between the warehouses of two homes."""
    with duckdb.connect() as connection:
        for name, place in (("left_side", home), ("right_side", other)):
            connection.execute(f"attach '{place / 'warehouse.duckdb'}' as {name} (read_only)")
        found = []
        files = [_published(place) for place in (home, other)]
        if files[0] != files[1]:
            found.append(f"published: {files[0] ^ files[1]}")
        for file in sorted(files[0] & files[1]):
            sides = [f"read_parquet('{place / file}')" for place in (home, other)]
            found += _differences(connection, str(file), sides)
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'main' "
            "and table_type = 'BASE TABLE' and table_catalog = 'left_side' order by 1"
        ).fetchall()
        assert tables
        for (table,) in tables:
            if table not in CHANGES:
                sides = [f"{side}.main.{table}" for side in ("left_side", "right_side")]
                found += _differences(connection, table, sides)
    return found


def _published(home: Path) -> set[str]:
    return {
        f"{folder}/{path.name}"
        for folder in ("features", "labels")
        for path in (home / folder).iterdir()
    }


def _differences(connection: duckdb.DuckDBPyConnection, name: str, sides: list[str]) -> list[str]:
    columns = [
        [row[0] for row in connection.execute(f"describe from {side}").fetchall()] for side in sides
    ]
    if columns[0] != columns[1]:
        return [f"{name}: columns {columns[0]} and {columns[1]}"]
    chosen = ", ".join(f'"{column}"' for column in columns[0] if column != HISTORY)
    found = []
    for these, those, verb in ((0, 1, "has only here"), (1, 0, "lacks")):
        rows = connection.execute(
            f"select {chosen} from {sides[these]} except all select {chosen} from {sides[those]}"
        ).fetchall()
        if rows:
            found.append(f"{name} {verb} {len(rows)} rows, as {rows[0]}")
    return found
