"""Parquet files that are written: results, saved datasets, appended rows, logs."""

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.session import SessionSettings, first_line, literal, quote, session
from feature_repo.sources import is_remote, pattern


def write(batches: pa.RecordBatchReader, path: Path) -> None:
    """Write `batches` to the file `path`, which appears whole or not at all."""
    try:
        with replacing(path) as fresh, pq.ParquetWriter(fresh, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    finally:
        batches.close()


def save(
    batches: Callable[[], pa.RecordBatchReader],
    uri: str,
    repo_path: Path | None,
    allow_overwrite: bool,
) -> None:
    """Write a dataset to `uri`: a file where it ends in ``.parquet``, else a folder of one file.

    Raises
    ------
    SavedDatasetLocationAlreadyExists
        If something is there and `allow_overwrite` is not set.
    BadInput
        If `uri` is remote.
    """
    path = _local(uri, repo_path)
    if path.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=str(path))
    if path.suffix == ".parquet" and not path.is_dir():
        write(batches(), path)
        return
    # A dataset may be made from the one that it replaces, so that goes last.
    old = sorted(path.glob("**/*.parquet"))
    write(batches(), path / f"{uuid.uuid4().hex}.parquet")
    for file in old:
        file.unlink()


def append(
    table: pa.Table, source: FileSource, repo_path: Path | None, settings: SessionSettings
) -> None:
    """Add the rows of `table`, which has the source's columns, to a Parquet file or folder.

    A file is rewritten beside itself and replaced, in a stream; a folder gets another file.

    Raises
    ------
    BadInput
        If the source is remote or a glob, or a type does not fit.
    """
    path = Path(os.path.realpath(_local(source.path, repo_path)))
    if not path.exists():
        raise BadInput(f"source {source.name}: no file {path} to add rows to; build it first")
    with session(settings) as connection:
        stored = f"read_parquet({literal(pattern(str(path)))})"
        connection.register("added", table)
        try:
            columns = connection.execute(f"describe select * from {stored}").fetchall()
            # The types of what is there, so that all rows of a source stay alike.
            casts = [f"cast({quote(c)} as {kind}) as {quote(c)}" for c, kind, *_ in columns]
            rows = f"select {', '.join(casts)} from added"
            if path.is_dir():
                _add_files(connection, rows, path, _partitions(path))
                return
            with replacing(path) as fresh:
                connection.execute(
                    f"copy (from {stored} union all by name {rows}) to {literal(str(fresh))} "
                    "(format parquet)"
                )
        except duckdb.Error as error:
            raise BadInput(
                f"source {source.name}: the rows do not fit {path} ({first_line(error)})"
            ) from None


def add_logs(
    data: pa.Table | Path,
    uri: str,
    partition_by: Sequence[str] | None,
    repo_path: Path | None,
    settings: SessionSettings,
) -> None:
    """Add logged features to the folder `uri`, in hive partitions where `partition_by` says so."""
    folder = _local(uri, repo_path)
    with session(settings) as connection:
        if isinstance(data, Path):
            rows = f"from read_parquet({literal(pattern(str(data)))})"
        else:
            rows = "from logs"
            connection.register("logs", data)
        try:
            _add_files(connection, rows, folder, partition_by or ())
        except duckdb.Error as error:
            raise BadInput(f"logs cannot be written to {folder} ({first_line(error)})") from None


def _partitions(folder: Path) -> list[str]:
    """Return the columns that the folders of a hive-partitioned folder stand for."""
    first = min(folder.glob("**/*.parquet"))
    parts = first.relative_to(folder).parent.parts
    return [part.partition("=")[0] for part in parts if "=" in part]


def _add_files(
    connection: duckdb.DuckDBPyConnection, rows: str, folder: Path, partition_by: Sequence[str]
) -> None:
    """Write what the query `rows` gives to new files of `folder`; each appears whole."""
    # Beside the folder and not in it: a reader takes every file below.
    made = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    made.mkdir(parents=True)
    target, options = made / f"{uuid.uuid4().hex}.parquet", ""
    if partition_by:
        target = made
        options = f", partition_by ({', '.join(map(quote, partition_by))}), append, "
        options += "filename_pattern '{uuid}'"
    try:
        connection.execute(f"copy ({rows}) to {literal(str(target))} (format parquet{options})")
        for file in sorted(made.rglob("*.parquet")):
            # The name must not reach the disk before the bytes.
            with file.open("rb") as whole:
                os.fsync(whole.fileno())
            place = folder / file.relative_to(made)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _local(uri: str, repo_path: Path | None) -> Path:
    path = FileSource.get_uri_for_file_path(repo_path, uri)
    if is_remote(path):
        raise BadInput(f"{path} is remote; this store writes local files only")
    return Path(path)
