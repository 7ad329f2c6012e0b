"""Count and compare Parquet files in a process of its own: ``python -m benchmarks.checks``."""

import argparse
import json
from pathlib import Path

import duckdb


def count_rows(folder: Path) -> int:
    """Return the rows of all Parquet files in `folder`."""
    with duckdb.connect() as connection:
        return sum(
            connection.execute(f"select count(*) from '{_files(path)}'").fetchall()[0][0]
            for path in sorted(folder.glob("*.parquet"))
        )


def different_files(left: Path, right: Path) -> list[str]:
    """Return the names of the files of two folders that are not the same set of rows.

    ``computed_at`` says when a row was made, so it is left out.
    """
    names = {path.name for folder in (left, right) for path in folder.glob("*.parquet")}
    with duckdb.connect() as connection:
        return [
            name
            for name in sorted(names)
            if not ((left / name).exists() and (right / name).exists())
            or _fingerprint(connection, left / name) != _fingerprint(connection, right / name)
        ]


def _files(path: Path) -> Path:
    """A view is one file, or what Spark makes of it: a folder of them."""
    return path / "*.parquet" if path.is_dir() else path


def _fingerprint(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[object, ...]:
    columns = [
        name
        for name, *_ in connection.execute(f"describe select * from '{path}'").fetchall()
        if name != "computed_at"
    ]
    row = ", ".join(f'"{name}"' for name in columns)
    found = connection.execute(f"select count(*), sum(hash(row({row}))) from '{path}'").fetchall()
    return (*columns, *found[0])


def main() -> None:
    """Print what the command line asks for, in JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    command = commands.add_parser("rows")
    command.add_argument("folder", type=Path)
    command = commands.add_parser("different")
    command.add_argument("left", type=Path)
    command.add_argument("right", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "rows":
        print(json.dumps({"rows": count_rows(arguments.folder)}))
    else:
        print(json.dumps({"different": different_files(arguments.left, arguments.right)}))


if __name__ == "__main__":
    main()
