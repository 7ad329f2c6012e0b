"""Rows in force, written to the online store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from feast import FeatureView

# Cells, some 30 MB of the write-ahead log: a page that several batches changed is then moved once.
_MOST_UNTIDIED = 1_000_000


class OnlineRows(Protocol):
    """Where a stream's rows go."""

    def write(self, views: Sequence[tuple[str, pa.Table]], now: datetime) -> int:
        """Write the rows in force at `now`, at most one a view and user; return how many values.

        They take the place of whatever was in force at an earlier instant, also of a row with a
        later ``event_timestamp``: a late event can take back a step that was online already, as
        the close of a session that went on.
        """

    def tidy(self) -> None:
        """Do what a write has left to do, when the rows are online and nobody waits."""


class StoredOnline:
    """The online store of a run, whichever it is.

    Parameters
    ----------
    home : Path
        Home of the run; its views must have been registered.

    Raises
    ------
    BadInput
        If nothing is registered there.

    Notes
    -----
    To the store a row's event timestamp is the instant at which it was in force, and not the one
    since when, so that the newest is the one that knows most. The packed store takes columns, and
    all views of a batch at once; another one takes Feast's message a value, view by view.
    """

    def __init__(self, home: Path):
        from feature_repo.store import open_store

        self._store = open_store(home)
        self._views = {view.name: view for view in self._store.list_feature_views()}
        self._untidied = 0

    def write(self, views: Sequence[tuple[str, pa.Table]], now: datetime) -> int:
        """See `OnlineRows`; a view that is not registered yet is left to the next sync."""
        from feast.infra.online_stores.helpers import get_online_store_from_config

        from feature_repo.online_store import is_packed, stream_rows

        config = self._store.config
        known = [
            (self._views[view], rows)
            for view, rows in views
            if view in self._views and rows.num_rows
        ]
        if is_packed(config):
            cells = stream_rows(config, known, now)
            self._untidied += cells
            return cells
        online, cells = get_online_store_from_config(config.online_store), 0
        for view, rows in known:
            data = _as_feast(view, rows, now)
            online.online_write_batch(config, view, data, None)
            cells += sum(len(values) for _, values, _, _ in data)
        return cells

    def tidy(self) -> None:
        """Move the rows out of the write-ahead log of a packed store, where they are many."""
        from feature_repo.online_store import database

        if self._untidied >= _MOST_UNTIDIED:
            database(self._store.config).checkpoint("passive")
            self._untidied = 0


def _as_feast(
    view: FeatureView, rows: pa.Table, now: datetime
) -> list[tuple[Any, dict[str, Any], datetime, datetime | None]]:
    from feature_repo.cells import entity_keys, kind_of, to_kind, to_values

    features = [feature for feature in view.features if feature.name in rows.column_names]
    columns = [
        to_values(
            to_kind(rows.column(feature.name).combine_chunks(), feature, view.name),
            kind_of(feature),
            view.name,
            feature.name,
        )
        for feature in features
    ]
    names = [feature.name for feature in features]
    batch = rows.select([field.name for field in view.entity_columns]).combine_chunks()
    keys = entity_keys(batch.to_batches()[0], view.entity_columns)
    return [
        (key, dict(zip(names, values, strict=True)), now, now)
        for key, *values in zip(keys, *columns, strict=True)
    ]
