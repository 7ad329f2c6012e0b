"""Parquet sources of feature views as DuckDB relations, all of a request from one snapshot."""

import copy
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.errors import BadInput
from feature_repo.session import quote

_NANOSECONDS = "TIMESTAMP_NS"
_INSTANTS = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", _NANOSECONDS)


@dataclass(frozen=True)
class Relation:
    """A source that exists, with the columns that it really has.

    Attributes
    ----------
    view : str
        Whose source it is, for messages.
    path : str
        The file, in the snapshot that the request reads.
    sql : str
        What to write after ``from``.
    types : dict of str to str
        DuckDB's type of each column.
    """

    view: str
    path: str
    sql: str
    types: dict[str, str]

    def require(self, columns: Iterable[str]) -> None:
        """Raise `BadInput` if one of `columns` is not in the file."""
        for column in columns:
            if column not in self.types:
                raise BadInput(
                    f"view {self.view}: no column {column} in {self.path}; "
                    "build again, then run `feast apply`"
                )

    def instant(self, column: str) -> str:
        """Return SQL for a timestamp column as naive UTC microseconds.

        Nanoseconds are rounded up: a value must not be visible before its instant.
        """
        self.require([column])
        data_type, name = self.types[column], quote(column)
        if data_type not in _INSTANTS:
            raise BadInput(
                f"view {self.view}: column {column} in {self.path} is {data_type}, not a "
                "timestamp; cast it to TIMESTAMP"
            )
        if data_type == "TIMESTAMP":
            return name
        if data_type != _NANOSECONDS:
            return f"cast({name} as timestamp)"
        # A cast would round to the nearest, and the division rounds towards 1970.
        count = f"epoch_ns({name})"
        return f"make_timestamp({count} // 1000 + cast({count} % 1000 > 0 as bigint))"


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
        """Return the relation of a Parquet `source` in this snapshot.

        Raises
        ------
        BadInput
            If the source is not a Parquet file that can be read.
        """
        path = self.pin(source, view).path
        sql = f"read_parquet('{_pattern(path)}')"
        try:
            columns = connection.execute(f"describe select * from {sql}").fetchall()
        except duckdb.Error as error:
            if not os.path.exists(path):
                message = f"no file {path}; build the features first"
            else:
                message = f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})"
            raise BadInput(f"view {view}: {message}") from None
        return Relation(view, path, sql, {name: data_type for name, data_type, *_ in columns})

    def pin(self, source: DataSource | None, view: str) -> FileSource:
        """Return `source` with its path in this snapshot."""
        if not isinstance(source, FileSource):
            raise BadInput(f"view {view}: its source is no file; this store reads Parquet files")
        pinned = copy.copy(source)
        pinned.file_options = copy.copy(source.file_options)
        pinned.file_options.uri = self._resolve(source.path)
        return pinned

    def _resolve(self, uri: str) -> str:
        path = FileSource.get_uri_for_file_path(self._repo_path, uri)
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


def _pattern(path: str) -> str:
    literal = re.sub(r"([*?\[])", r"[\1]", path)
    if os.path.isdir(path):
        literal += "/**/*.parquet"
    return literal.replace("'", "''")
