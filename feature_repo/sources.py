"""Sources of feature views as DuckDB relations, all of a request from one snapshot."""

import copy
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import duckdb
import pyarrow.parquet as pq
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.duckdb_source import DuckDBTableSource
from feature_repo.errors import BadInput
from feature_repo.session import attach_sql, first_line, literal, quote
from feature_repo.value_types import refuse_uncarried

_NANOSECONDS = ("TIMESTAMP_NS", "TIMESTAMPTZ_NS")
_INSTANTS = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", *_NANOSECONDS)

# More rows than any Parquet file has; file and row then are one number that grows in file order.
_ROWS_PER_FILE = 2**40


@dataclass(frozen=True)
class Relation:
    """A source that exists, with the columns that it really has.

    Attributes
    ----------
    view : str
        Whose source it is, for messages.
    place : str
        The file, folder or table, in the snapshot that the request reads; for messages.
    sql : str
        What to write after ``from``.
    types : dict of str to str
        DuckDB's type of each column, by the name that the source gives it.
    names : dict of str to str
        What DuckDB calls a column, where that is another name.
    position : str
        SQL for a number that is unique to a row and grows in the order of the source.
    setup : tuple of str
        Statements that a session runs before it reads `sql`.
    """

    view: str
    place: str
    sql: str
    types: dict[str, str]
    names: dict[str, str]
    position: str
    setup: tuple[str, ...] = ()

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the relation readable in a session.

        Raises
        ------
        BadInput
            If a statement of `setup` fails.
        """
        _run(connection, self.setup, self.view, self.place)

    def require(self, columns: Iterable[str]) -> None:
        """Raise `BadInput` if one of `columns` is not in the source."""
        for column in columns:
            if column not in self.types:
                raise BadInput(
                    f"view {self.view}: no column {column} in {self.place}; "
                    "build again, then run `feast apply`"
                )

    def column(self, column: str) -> str:
        """Return SQL for a column."""
        self.require([column])
        return quote(self.names.get(column, column))

    def feature(self, column: str) -> str:
        """Return SQL for a column that holds a feature, of a type that Feast can carry."""
        sql = self.column(column)
        refuse_uncarried(self.types[column], self.view, column)
        return sql

    def instant(self, column: str) -> str:
        """Return SQL for a timestamp column as naive UTC microseconds.

        Nanoseconds are rounded up: a value must not be visible before its instant.
        """
        name = self.column(column)
        data_type = self.types[column]
        if data_type not in _INSTANTS:
            raise BadInput(
                f"view {self.view}: column {column} in {self.place} is {data_type}, not a "
                "timestamp; cast it to TIMESTAMP"
            )
        return instant(name, data_type, up=True)


def instant(sql: str, data_type: str, up: bool) -> str:
    """Return SQL for a timestamp of any of DuckDB's types as naive UTC microseconds.

    Parameters
    ----------
    up : bool
        Whether nanoseconds are rounded up or down.
    """
    if data_type == "TIMESTAMP":
        return sql
    if data_type not in _NANOSECONDS:
        return f"cast({sql} as timestamp)"
    # A cast would round to the nearest, and the division rounds towards 1970.
    count = f"epoch_ns({sql})"
    if up:
        return f"make_timestamp({count} // 1000 + cast({count} % 1000 > 0 as bigint))"
    return f"make_timestamp({count} // 1000 - cast({count} % 1000 < 0 as bigint))"


class Snapshot:
    """The folders of one request, each resolved once.

    The folder of the published views is a symlink that flips to a new build; a request that
    followed it file by file could join an old view with a new one.
    """

    def __init__(self, repo_path: Path | None):
        self._repo_path = repo_path
        self._folders: dict[str, str] = {}

    def relation(
        self, connection: duckdb.DuckDBPyConnection, source: DataSource | None, view: str
    ) -> Relation:
        """Return the relation of `source` in this snapshot.

        Raises
        ------
        BadInput
            If the source is none of those that this store reads, or it cannot be read.
        """
        pinned = self.pin(source, view)
        if isinstance(pinned, DuckDBTableSource):
            return _table(connection, pinned, view)
        return _files(connection, pinned, view)

    def is_local(self, source: DataSource | None) -> bool:
        """Return whether `source` is files of this machine, which any connection can look at."""
        source = _as_files(source)
        if not isinstance(source, FileSource):
            return False
        return not is_remote(FileSource.get_uri_for_file_path(self._repo_path, source.path))

    def pin(self, source: DataSource | None, view: str) -> FileSource | DuckDBTableSource:
        """Return `source` with its path in this snapshot."""
        if isinstance(source, DuckDBTableSource):
            return source.at(self._resolve(source.database))
        source = _as_files(source)
        if not isinstance(source, FileSource):
            raise BadInput(
                f"view {view}: its source is a {type(source).__name__}; this store reads Parquet "
                "files (FileSource) and DuckDB tables (DuckDBTableSource)"
            )
        if source.file_format is not None and not isinstance(source.file_format, ParquetFormat):
            raise BadInput(
                f"view {view}: its files are {type(source.file_format).__name__}; this store reads "
                "Parquet"
            )
        pinned = copy.copy(source)
        pinned.file_options = copy.copy(source.file_options)
        pinned.file_options.uri = self._resolve(source.path)
        return pinned

    def _resolve(self, uri: str) -> str:
        path = FileSource.get_uri_for_file_path(self._repo_path, uri)
        if is_remote(path):
            return path
        # What is behind a wildcard is no folder; the part before it is.
        folder, name = os.path.split(path)
        while "*" in folder and not os.path.exists(folder):
            folder, last = os.path.split(folder)
            name = os.path.join(last, name)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


def _as_files(source: DataSource | None) -> DataSource | None:
    """Return a source of Parquet that is declared for Spark as one of files, any other as it is.

    What Feast's Spark store reads, this package can check and bring online.
    """
    if type(source).__name__ != "SparkSource" or not getattr(source, "path", None):
        return source
    declared: Any = source  # its class needs pyspark
    return FileSource(
        name=declared.name,
        path=declared.path,
        file_format=ParquetFormat() if declared.file_format == "parquet" else None,
        timestamp_field=declared.timestamp_field,
        created_timestamp_column=declared.created_timestamp_column,
        field_mapping=declared.field_mapping,
    )


def is_remote(path: str) -> bool:
    """Return whether DuckDB reads `path` through one of its own filesystems."""
    scheme = urlparse(path).scheme
    return len(scheme) > 1 and "://" in path and scheme != "file"


def pattern(path: str) -> str:
    """Return what DuckDB is to read for a file, folder or glob.

    A local path that exists is meant as it is written, whatever characters it has.
    """
    if is_remote(path):
        return path if re.search(r"\.parquet$|[*?]", path) else path.rstrip("/") + "/**/*.parquet"
    if not os.path.exists(path):
        return path
    plain = re.sub(r"([*?\[])", r"[\1]", path)
    return plain + "/**/*.parquet" if os.path.isdir(path) else plain


def _files(connection: duckdb.DuckDBPyConnection, source: FileSource, view: str) -> Relation:
    path = source.path
    setup = _endpoint(source.s3_endpoint_override, path)
    _run(connection, setup, view, path)
    files = pattern(path)
    sql = f"read_parquet({literal(files)})"
    try:
        columns = connection.execute(f"describe select * from {sql}").fetchall()
    except duckdb.Error as error:
        reason = _reason(error)
        if is_remote(path):
            message = f"{path} cannot be read ({reason})"
        elif not os.path.exists(path) and "No files found" in reason:
            message = f"no file {path}; build the features first"
        elif os.path.isdir(path) and "No files found" in reason:
            message = f"no Parquet file in the folder {path}; build the features first"
        else:
            message = f"{path} cannot be read as Parquet ({reason})"
        raise BadInput(f"view {view}: {message}") from None
    names = [name for name, *_ in columns]
    true_names = _true_names(connection, files, names)
    position = f"file_index * {_ROWS_PER_FILE} + file_row_number"
    if {"file_index", "file_row_number"} & {name.lower() for name in names}:
        position = "0"  # columns of the file hide DuckDB's
    return Relation(
        view,
        path,
        sql,
        {true: column[1] for true, column in zip(true_names, columns, strict=True)},
        {true: name for true, name in zip(true_names, names, strict=True) if true != name},
        position,
        setup,
    )


def _true_names(connection: duckdb.DuckDBPyConnection, files: str, names: list[str]) -> list[str]:
    """Return what the file calls its columns: DuckDB tells ``n`` from ``N`` by a number."""
    lowered = {name.lower() for name in names}
    if not any(re.sub(r"_\d+$", "", name) in lowered - {name} for name in lowered):
        return names
    first = connection.execute(f"select min(file) from glob({literal(files)})").fetchall()[0][0]
    if is_remote(first):
        return names
    in_file = pq.read_schema(first).names
    return [*in_file, *names[len(in_file) :]]  # the others are partitions


def _endpoint(endpoint: str | None, path: str) -> tuple[str, ...]:
    if not endpoint or not path.startswith("s3://"):
        return ()
    url = urlparse(endpoint if "://" in endpoint else f"https://{endpoint}")
    bucket = urlparse(path).netloc
    return (
        f"create or replace temporary secret {quote('s3_' + bucket)} (type s3, provider "
        f"credential_chain, endpoint {literal(url.netloc)}, url_style 'path', "
        f"use_ssl {str(url.scheme == 'https').lower()}, scope {literal(f's3://{bucket}')})",
    )


def _table(connection: duckdb.DuckDBPyConnection, source: DuckDBTableSource, view: str) -> Relation:
    place = f"table {source.table} of {source.database}"
    if not os.path.exists(source.database):
        raise BadInput(f"view {view}: no database {source.database}; build the features first")
    setup = (attach_sql(source.database, source.database),)
    _run(connection, setup, view, place)
    schema, _, table = source.table.rpartition(".")
    sql = ".".join(quote(part) for part in (source.database, schema or "main", table))
    try:
        columns = connection.execute(f"describe select * from {sql}").fetchall()
    except duckdb.Error as error:
        raise BadInput(f"view {view}: {place} cannot be read ({first_line(error)})") from None
    is_table = connection.execute(
        "select count(*) from duckdb_tables() where database_name = ? and schema_name = ? "
        "and table_name = ?",
        [source.database, schema or "main", table],
    ).fetchall()[0][0]
    types = {name: data_type for name, data_type, *_ in columns}
    has_rowid = is_table and "rowid" not in {name.lower() for name in types}
    return Relation(view, place, sql, types, {}, "rowid" if has_rowid else "0", setup)


def _run(
    connection: duckdb.DuckDBPyConnection, statements: Iterable[str], view: str, place: str
) -> None:
    try:
        for statement in statements:
            connection.execute(statement)
    except duckdb.Error as error:
        raise BadInput(f"view {view}: {place} cannot be opened ({_reason(error)})") from None


def _reason(error: duckdb.Error) -> str:
    missing = re.search(r"required extension '(\w+)", str(error))
    if missing is None:
        return first_line(error)
    return (
        f"DuckDB needs its extension {missing[1]} for that, and could not download it; run "
        f"`install {missing[1]}` in DuckDB where there is a network"
    )
