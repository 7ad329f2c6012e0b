"""Where a sync writes: our own online store, or any other one through Feast's interface.

Both keep a ledger of what was written, an `OnlineDatabase`. Our store is its own ledger; beside
another one lies a file of the same layout without the values.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.cells import entity_key_of, entity_keys, kind_of, to_values
from feature_repo.errors import BadInput
from feature_repo.home import online_ledger_path
from feature_repo.in_force import PublishedView, RowsInForce
from feature_repo.online_database import OnlineDatabase
from feature_repo.online_store import Rows, database, is_packed, microseconds
from feature_repo.session import first_line

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEDGER_ROWS_CHECKED = 20

PackedRows = Iterator[tuple[str, int, int | None, bytes]]


class Target(Protocol):
    """What a sync needs of an online store."""

    ledger: OnlineDatabase
    deletes_rows: bool
    rows_written: int | None  # None: as many as the ledger took
    cells_written: int

    def still_holds(self, view: PublishedView, name: str) -> bool:
        """Return whether what the ledger says was written is still there."""

    def begin(self, view: PublishedView, name: str) -> None:
        """Get ready to write rows of `view`."""

    def clear(self, view: PublishedView) -> None:
        """Delete all rows of `view`."""

    def write(self, view: PublishedView, batch: RowsInForce, clock: int, until: int) -> PackedRows:
        """Write a batch, or make it ready, and return its rows for the ledger."""


def target_of(config: RepoConfig, home: Path) -> "Target":
    """Return the target of a configuration's online store."""
    return PackedTarget(config) if is_packed(config) else FeastTarget(config, home)


class PackedTarget:
    """Our own store: rows become visible with the ledger's transaction, which they are."""

    deletes_rows = True
    rows_written: int | None = None
    cells_written = 0

    def __init__(self, config: RepoConfig):
        self.ledger = database(config)

    def still_holds(self, view: PublishedView, name: str) -> bool:  # noqa: ARG002
        """Return True: the rows are the ledger."""
        return True

    def begin(self, view: PublishedView, name: str) -> None:
        """Do nothing: rows are written at the end."""

    def clear(self, view: PublishedView) -> None:
        """Never called: rows are deleted one by one."""
        raise NotImplementedError

    def write(
        self,
        view: PublishedView,
        batch: RowsInForce,
        clock: int,  # noqa: ARG002
        until: int,  # noqa: ARG002
    ) -> PackedRows:
        """Pack the rows."""
        return _ledger_rows(batch, view.schema.pack(batch.features, view.view.name))


class FeastTarget:
    """Any other store. Feast's interface deletes views, not rows, and promises no transaction."""

    deletes_rows = False

    def __init__(self, config: RepoConfig, home: Path):
        self._config = _overwriting(config)
        self._online = get_online_store_from_config(config.online_store)
        self._is_empty: set[str] = set()
        self.ledger = OnlineDatabase.at(online_ledger_path(home))
        self.rows_written: int | None = 0
        self.cells_written = 0

    def still_holds(self, view: PublishedView, name: str) -> bool:
        """Look up some rows of the ledger: a store that was emptied has lost them all."""
        stored = next(self.ledger.stored(name, batch=_LEDGER_ROWS_CHECKED), [])
        keys = [entity_key_of(entity, view.join_keys) for entity, *_ in stored]
        found = self._events(view.view, keys)
        return all(
            seen is not None and seen // 10**6 >= event // 10**6
            for seen, (_, event, _, _) in zip(found, stored, strict=True)
        )

    def begin(self, view: PublishedView, name: str) -> None:  # noqa: ARG002
        """Forget what the view was synced from: a run that ends before its end is made up for."""
        with self.ledger.writing():
            self.ledger.forget_mark(name)

    def clear(self, view: PublishedView) -> None:
        """Drop the view's rows, and make room for new ones."""
        # In two steps: some stores drop last what one call names in both lists.
        nothing: dict[str, Any] = {
            "entities_to_delete": [],
            "entities_to_keep": [],
            "partial": True,
        }
        with self._blaming():
            self._online.update(self._config, [view.view], [], **nothing)
            self._online.update(self._config, [], [view.view], **nothing)
        self._is_empty.add(view.view.name)

    def write(self, view: PublishedView, batch: RowsInForce, clock: int, until: int) -> PackedRows:
        """Write the rows, but for those over which a newer one was pushed."""
        table = view.view
        keys = entity_keys(batch.keys, view.join_keys)
        names = [feature.name for feature in table.features]
        columns = [
            to_values(column, kind_of(feature), table.name, feature.name)
            for feature, column in zip(table.features, batch.features, strict=True)
        ]
        values: list[dict[str, Value]] = [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        events, created = batch.events.to_pylist(), batch.created.to_pylist()
        ahead = [False] * len(keys)
        if table.name not in self._is_empty:
            ahead = [
                seen is not None and event < seen <= until and seen > clock
                for seen, event in zip(self._events(table, keys), events, strict=True)
            ]
        rows: Rows = [
            (key, value, _instant(event), None if made is None else _instant(made))
            for key, value, event, made, is_ahead in zip(
                keys, values, events, created, ahead, strict=True
            )
            if not is_ahead
        ]
        if rows:
            with self._blaming():
                self._online.online_write_batch(self._config, table, rows, None)
        assert self.rows_written is not None
        self.rows_written += len(rows)
        self.cells_written += len(rows) * len(names)
        return _ledger_rows(batch, [b""] * len(keys))

    def _events(self, view: FeatureView, keys: list[EntityKey]) -> list[int | None]:
        if not keys:
            return []
        first = [feature.name for feature in view.features][:1]
        with self._blaming():
            found = self._online.online_read(self._config, view, keys, first)
        return [None if event is None else microseconds(event) for event, _ in found]

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Turn what a store raises, each one its own kind, into one line that names the store."""
        try:
            yield
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"online store {type(self._online).__name__} failed ({first_line(error)}): check "
                "that it runs, and its settings in the feature store's YAML file"
            ) from error


def _ledger_rows(batch: RowsInForce, packed: list[bytes]) -> PackedRows:
    return zip(
        batch.entities.to_pylist(),
        batch.events.to_pylist(),
        batch.created.to_pylist(),
        packed,
        strict=True,
    )


def _instant(count: int) -> datetime:
    return _EPOCH + timedelta(microseconds=count)


def _overwriting(config: RepoConfig) -> RepoConfig:
    """Return a configuration under which a row of the same instant, or an earlier one, is written.

    Feast's Redis store leaves them out by default: a late event changes a row of an instant that
    is there already.
    """
    if not hasattr(config.online_store, "skip_dedup"):
        return config
    changed = copy.copy(config)
    changed._online_store = config.online_store.model_copy(update={"skip_dedup": True})
    return changed
