"""Feast's SQLite online store, in the home of the run, loaded whole and replaced atomically."""

import os
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.sqlite import (
    SqliteOnlineStore,
    SqliteOnlineStoreConfig,
    _initialize_conn,
    _quote_id,
    _table_id,
)
from pydantic import Field, StrictStr

from feature_repo import advisories
from feature_repo.atomic import replacing
from feature_repo.cells import KeyEncoder, encode_column, to_seconds
from feature_repo.home import home, online_store_path

# Feast imports this module for its configuration class, before it reads the registry's settings.
advisories.silence()


def _utc_seconds(value: datetime) -> int:
    return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())


def _utc_datetime(value: bytes) -> datetime:
    return datetime.fromtimestamp(int(value), tz=UTC)


# Feast registers a pair that goes through the host's time zone: a file written in one zone would
# be read hours off in another.
sqlite3.register_adapter(datetime, _utc_seconds)
sqlite3.register_converter("timestamp", _utc_datetime)


class HomeSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """The stock configuration; `path` defaults to ``<home>/feast/online_store.db``."""

    type: Literal["feature_repo.online_store.HomeSqliteOnlineStore"] = Field(  # type: ignore[assignment]
        default="feature_repo.online_store.HomeSqliteOnlineStore"
    )
    path: StrictStr = Field(default_factory=lambda: str(online_store_path(home())))


class HomeSqliteOnlineStore(SqliteOnlineStore):
    """The stock SQLite store, whose file may be replaced under its readers.

    Each thread has a connection of its own, opened anew when the file was replaced; all views of
    one request are read from the same file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()

    def replace_contents(
        self, config: RepoConfig, tables: Iterable[tuple[FeatureView, pa.Table]]
    ) -> int:
        """Make the store hold exactly `tables`, in one step for every reader.

        Parameters
        ----------
        config : RepoConfig
        tables : iterable of (FeatureView, pyarrow.Table)
            The latest rows of each view: join keys, features and the source's timestamp column,
            one row per entity.

        Returns
        -------
        int
            Number of cells written, one per row and feature.

        Notes
        -----
        The rows go into a fresh file that replaces the live one: what is not in `tables` is gone,
        and a row never has to compete with a newer one that was there before.
        """
        live = Path(self._get_db_path(config))
        encoder = KeyEncoder(config.entity_key_serialization_version)
        with replacing(live) as fresh:
            with closing(sqlite3.connect(fresh)) as connection:
                # Nobody else sees the file before it is whole, so it needs no journal.
                connection.execute("pragma journal_mode = off")
                connection.execute("pragma synchronous = off")
                cells = sum(
                    _write(connection, config, view, rows, encoder) for view, rows in tables
                )
                connection.commit()
            # A journal that a killed writer left behind would be replayed into the new file.
            for suffix in ("-journal", "-wal", "-shm"):
                Path(f"{live}{suffix}").unlink(missing_ok=True)
        return cells

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        thread = self._thread
        if getattr(thread, "pinned", False):
            return thread.connection
        path = self._get_db_path(config)
        identity = _identity(path)
        if identity is None or identity != getattr(thread, "opened", None):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            thread.connection = _initialize_conn(path)
            thread.opened = _identity(path)
        return thread.connection

    def _read_features_per_fv(self, config: RepoConfig, *args, **kwargs) -> None:
        self._get_conn(config)
        self._thread.pinned = True
        try:
            super()._read_features_per_fv(config, *args, **kwargs)
        finally:
            self._thread.pinned = False


def _identity(path: str) -> tuple[str, int, int] | None:
    # An open file keeps its inode, so a replaced one cannot have the same.
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return path, status.st_dev, status.st_ino


def _write(
    connection: sqlite3.Connection,
    config: RepoConfig,
    view: FeatureView,
    rows: pa.Table,
    encoder: KeyEncoder,
) -> int:
    table = _quote_id(_table_id(config.project, view))
    # The stock layout; `value_text` and `vector_value` serve searches, which are not used here.
    connection.execute(
        f"create table {table} (entity_key blob, feature_name text, value blob, value_text text, "
        "vector_value blob, event_ts timestamp, created_ts timestamp, "
        "primary key (entity_key, feature_name)) without rowid"
    )
    keys = encoder.encode(rows, view.entity_columns)
    assert view.batch_source is not None  # the rows came from it
    instants = to_seconds(rows.column(view.batch_source.timestamp_field)).to_pylist()
    columns = [(f.name, encode_column(rows.column(f.name), f, view.name)) for f in view.features]
    # In the order of the primary key, so that pages are filled once.
    order = sorted(range(len(keys)), key=keys.__getitem__)
    columns.sort(key=lambda column: column[0])
    connection.executemany(
        f"insert into {table} (entity_key, feature_name, value, event_ts) values (?, ?, ?, ?)",
        (
            (keys[row], name, values[row], instants[row])
            for row in order
            for name, values in columns
        ),
    )
    return len(keys) * len(columns)
