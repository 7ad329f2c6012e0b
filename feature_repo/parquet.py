"""Parquet files that are written: results, saved datasets, appended rows, logs."""

import os
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
    # A folder's new file is one whose name no other writer has.
    target = path / f"{uuid.uuid4().hex}.parquet" if path.is_dir() else path
    with session(settings) as connection, replacing(target) as fresh:
        stored = f"read_parquet({literal(pattern(str(path)))})"
        connection.register("added", table)
        try:
            columns = connection.execute(f"describe select * from {stored}").fetchall()
            # The types of what is there, so that all rows of a source stay alike.
            casts = [f"cast({quote(c)} as {kind}) as {quote(c)}" for c, kind, *_ in columns]
            rows = f"select {', '.join(casts)} from added"
            if not path.is_dir():
                rows = f"from {stored} union all by name {rows}"
            connection.execute(f"copy ({rows}) to {literal(str(fresh))} (format parquet)")
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
    folder.mkdir(parents=True, exist_ok=True)
    options = ["format parquet"]
    target = folder / f"{uuid.uuid4().hex}.parquet"
    if partition_by:
        options.append(f"partition_by ({', '.join(map(quote, partition_by))})")
        options += ["filename_pattern '{uuid}'", "append"]
        target = folder
    with session(settings) as connection:
        if isinstance(data, Path):
            rows = f"read_parquet({literal(pattern(str(data)))})"
        else:
            rows = "logs"
            connection.register(rows, data)
        try:
            connection.execute(
                f"copy (from {rows}) to {literal(str(target))} ({', '.join(options)})"
            )
        except duckdb.Error as error:
            raise BadInput(f"logs cannot be written to {folder} ({first_line(error)})") from None


def _local(uri: str, repo_path: Path | None) -> Path:
    path = FileSource.get_uri_for_file_path(repo_path, uri)
    if is_remote(path):
        raise BadInput(f"{path} is remote; this store writes local files only")
    return Path(path)
