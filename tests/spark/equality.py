"""Compare, cell by cell, what DuckDB and Spark made of one log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import duckdb

# Logarithms, and distances between them: each library rounds the last bit as it likes.
ROUNDED = ("transition_entropy_", "pattern_distance")
NEAR = 1e-12  # relative, and absolute below 1

# What is not published; the other tables differ in how they pack counters, or hold logarithms.
TABLES = (
    "base_events",
    "base_events__judged",
    "stg_events",
    "stg_events__rejected",
    "stg_users__quarantined",
    "event_accounting",
    "int_events",
    "int_states",
    "int_user_totals",
    "int_item_hours",
    "int_item_totals",
    "int_population_totals",
    "quality",
)


def differences(duckdb_home: Path, spark_home: Path) -> list[str]:
    """What differs between two homes: names, types, rows and cells; empty where all is equal."""
    found = []
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach '{duckdb_home / 'warehouse.duckdb'}' as theirs (read_only)")
        names = [published(home) for home in (duckdb_home, spark_home)]
        if names[0] != names[1]:
            found.append(f"published: {names[0] ^ names[1]}")
        for name in sorted(names[0] & names[1]):
            sides = [f"read_parquet('{duckdb_home / name}')", _folder(spark_home / name)]
            types = [_types(connection, side) for side in sides]
            if types[0] != types[1]:
                found.append(f"{name}: {types[0].items() ^ types[1].items()}")
                continue
            found += _cells(connection, name, sides, types[0])
        for table in TABLES:
            sides = [f"theirs.main.{table}", _folder(spark_home / f"spark/tables/{table}.parquet")]
            types = [_types(connection, side) for side in sides]
            if types[0].keys() != types[1].keys():
                found.append(f"{table}: columns {types[0].keys() ^ types[1].keys()}")
                continue
            # Inside, an engine has types of its own: decimals, instants with a zone.
            casts = ", ".join(f'cast("{c}" as {kind}) as "{c}"' for c, kind in types[0].items())
            sides[1] = f"(select {casts} from {sides[1]})"
            found += _cells(connection, table, sides, types[0])
    for report in ("accounting.json", "quality.json"):
        texts = [(home / "reports" / report).read_text() for home in (duckdb_home, spark_home)]
        if json.loads(texts[0]) != json.loads(texts[1]):
            found.append(f"{report}: {texts[0]} and {texts[1]}")
    return found


def published(home: Path) -> set[str]:
    """Names of the published views, as paths from a home."""
    return {
        f"{folder}/{path.name}"
        for folder in ("features", "labels")
        for path in (home / folder).iterdir()
    }


def cells(home: Path) -> int:
    """How many cells a home has published."""
    with duckdb.connect() as connection:
        return sum(
            len(_types(connection, side))
            * connection.execute(f"select count(*) from {side}").fetchall()[0][0]
            for side in (f"read_parquet('{home / name}')" for name in published(home))
        )


def _folder(path: Path) -> str:
    return f"read_parquet('{path}/*.parquet')"


def _types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    rows = connection.execute(f"describe select * from {relation}").fetchall()
    return {name: kind for name, kind, *_ in rows}


def _cells(
    connection: duckdb.DuckDBPyConnection, name: str, sides: list[str], types: dict[str, str]
) -> list[str]:
    rounded = [column for column in types if column.startswith(ROUNDED)]
    exact = ", ".join(f'"{column}"' for column in types if column not in rounded)
    found = []
    for these, those, verb in ((0, 1, "lacks"), (1, 0, "has only here")):
        # As many times each: a row twice is a difference.
        rows = connection.execute(
            f"select {exact} from {sides[these]} except all select {exact} from {sides[those]}"
        ).fetchall()
        if rows:
            found.append(f"{name} {verb} {len(rows)} rows, as {rows[0]}")
    return found + (_rounded(connection, name, sides, rounded) if rounded and not found else [])


def _rounded(
    connection: duckdb.DuckDBPyConnection, name: str, sides: list[str], columns: Iterable[str]
) -> list[str]:
    found = []
    for column in columns:
        far = connection.execute(
            f'select count(*), max(abs(a."{column}" - b."{column}")) '
            f"from {sides[0]} as a join {sides[1]} as b using (user_id, event_timestamp) "
            f'where a."{column}" is null <> (b."{column}" is null) '
            f'or abs(a."{column}" - b."{column}") > {NEAR} * greatest(1, abs(a."{column}"))'
        ).fetchall()[0]
        if far[0]:
            found.append(f"{name}: {column} differs in {far[0]} rows, by up to {far[1]}")
    return found
