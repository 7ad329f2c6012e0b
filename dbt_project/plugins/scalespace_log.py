"""Looking at the log's files: where they are, what columns they name, why they cannot be read."""

import csv
import glob
import json
import os
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
from scalespace_users import salt_problem

REPOSITORY = Path(__file__).resolve().parents[2]
GZIP = b"\x1f\x8b"


def resolve_path(path: str) -> str:
    """Make a path of the dataset file absolute; relative ones start at the repository."""
    return str(REPOSITORY / path)


def problem_with(path: str) -> str:
    """Say in one line why a file or glob cannot be a log; empty where nothing speaks against it."""
    files = glob.glob(path, recursive=True)
    if not files:
        return f"{path}: no such file: set events_path in the dataset file, or put the log there"
    if not any(os.path.getsize(file) for file in files):
        return f"{path}: the file is empty, it has not even a header: export the log again"
    if path.lower().endswith((".parquet", ".pq")):
        try:
            with duckdb.connect() as connection:
                connection.execute("describe from read_parquet(?, union_by_name = true)", [path])
        except duckdb.Error as error:
            return unreadable(path, str(error))
        for file in sorted(files):
            # DuckDB would call the second of them `name_1`, and the first would be read unasked.
            if twice := _named_twice(pyarrow.parquet.read_schema(file).names):
                return f"{file}: two columns are named {twice}: rename one and export the log again"
    else:
        for file in sorted(files):
            with open(file, "rb") as stream:
                zipped = stream.read(len(GZIP)) == GZIP
            if zipped and not file.lower().endswith(".gz"):
                return f"{file}: it is compressed with gzip: let its name end in .gz, or unpack it"
    return ""


def csv_header(path: str, options: str) -> str:
    """Read the names in the first line of the CSV file, or of every file of the glob.

    Parameters
    ----------
    path : str
        File or glob.
    options : str
        JSON of the dataset file's ``csv``.

    Returns
    -------
    str
        JSON: ``{"names": [...]}``, or ``{"problem": line}`` where there is no one header.
    """
    csv_options = json.loads(options)
    found: dict[str, list[str]] = {}
    for file in sorted(glob.glob(path, recursive=True)):
        if not os.path.getsize(file):
            continue
        try:
            found[file] = _header_of(file, csv_options)
        except duckdb.Error as error:
            return json.dumps({"problem": unreadable(file, str(error))})
    first, names = next(iter(found.items()))
    for file, others in found.items():
        if not others:
            problem = f"{file}: it has no first line that names its columns: export it again"
            return json.dumps({"problem": problem})
        if others != names:
            return json.dumps(
                {
                    "problem": f"{file}: its columns are {', '.join(others)}, but those of {first} "
                    f"are {', '.join(names)}: the files of one log need the same header"
                }
            )
    if twice := _named_twice(names):
        return json.dumps(
            {"problem": f"{first}: two columns are named {twice}: rename one, or list csv.names"}
        )
    return json.dumps({"names": names})


def _named_twice(names: list[str]) -> str:
    """A name that two columns have, as SQL reads names: in any case; empty where none is."""
    lower = [name.lower() for name in names]
    return min((name for name in names if lower.count(name.lower()) > 1), default="")


def _header_of(file: str, options: dict[str, Any]) -> list[str]:
    # DuckDB reads the line, as it will read the rest: compressed or not, in the same encoding. A
    # separator that no text has keeps the line whole. Not strictly: without quotes, a break inside
    # a quoted text further down would be a line that ends in another way.
    skip, encoding = options.get("skip") or 0, options.get("encoding") or "utf-8"
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select line from read_csv(?, header = false, auto_detect = false, delim = chr(1), "
            f"quote = '', escape = '', columns = {{'line': 'VARCHAR'}}, skip = {int(skip)}, "
            "encoding = ?, strict_mode = false) limit 1",
            [file, encoding],
        ).fetchall()
    line = (rows[0][0] or "") if rows else ""
    delimiter, quote = options.get("delimiter", ","), options.get("quote", '"')
    if quote and len(delimiter) == 1:
        names = next(csv.reader([line], delimiter=delimiter, quotechar=quote), [])
    else:
        names = line.split(delimiter)
    return [name.lstrip("\ufeff") or f"column{place}" for place, name in enumerate(names)]


def problem_with_sql(query: str) -> str:
    """Say in one line why DuckDB refuses a query without tables; empty where it does not."""
    try:
        with duckdb.connect() as connection:
            connection.execute(query)
    except duckdb.Error as error:
        return _first_line(str(error))
    return ""


def unreadable(path: str, message: str) -> str:
    """Say in one line where and why reading the log failed, from what DuckDB says in twenty."""
    file = re.search(r"^\s*file = (.+)$", message, re.MULTILINE)
    path = file[1].strip() if file else path
    place = re.search(r"CSV Error on Line: (\d+)", message)
    if "invalid state" in message:
        return (
            f"{path}: its lines end in different ways, or a quote stands where none can: export "
            'the log again, or set csv.quote in the dataset file ("" for a log without quotes)'
        )
    if not place:
        return f"{path}: it cannot be read as the dataset file says: {_first_line(message)}"
    where = f"{path}: line {place[1]}"
    fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if fields:
        return (
            f"{where} has {fields[2]} fields where {fields[1]} are named: correct the line, or "
            "csv.delimiter, csv.quote or csv.names in the dataset file"
        )
    if "unterminated quote" in message:
        return (
            f"{where} opens a quote and does not close it: correct the line, or set csv.quote in "
            'the dataset file ("" for a log without quotes)'
        )
    if "Maximum line size" in message:
        return (
            f"{where} is longer than any line may be (2 MB): correct the line, or a quote before "
            'it that is not closed (csv.quote: "" for a log without quotes)'
        )
    if "unicode" in message:
        return f"{where} is not UTF-8: set csv.encoding in the dataset file (latin-1, utf-16)"
    if not salt_problem(""):  # the line would show who it is of
        return f"{where} cannot be read: correct it, or the csv keys of the dataset file"
    return f"{where} cannot be read: {_first_line(message.split('Original Line:')[-1])}"


def _first_line(message: str) -> str:
    """The first line of an error that says something, without dbt's title above it."""
    lines = [line.strip() for line in message.splitlines()]
    said = [line for line in lines if line and not re.match(r"(Runtime|Database) Error in ", line)]
    return said[0][:200] if said else "no reason given"
