"""A Feast online store of packed rows in one SQLite file: one row a view and entity.

Everyone else reads it through Feast, value by value; `read_features` gives columns of all views of
a request in one pass, without a protocol buffer a cell.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import StrictStr

from feature_repo import advisories
from feature_repo.cells import (
    entity_text,
    from_values,
    kind_of,
    row_schema,
    to_kind,
    to_values,
)
from feature_repo.home import home, online_store_path
from feature_repo.online_database import DamagedStore, OnlineDatabase, StoredRows
from feature_repo.packing import RowSchema, arrow_type

# Feast imports this module for its configuration class, before it reads the registry's settings.
advisories.silence()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Rows = list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]]


class ScalespaceOnlineStoreConfig(FeastConfigBaseModel):
    """Settings under ``online_store:``.

    Attributes
    ----------
    path : str, optional
        The file, relative to the feature repository or absolute; default
        ``<home>/feast/online_store.db``.
    """

    type: Literal["feature_repo.online_store.ScalespaceOnlineStore"] = (
        "feature_repo.online_store.ScalespaceOnlineStore"
    )
    path: StrictStr | None = None

    def model_post_init(self, context: Any) -> None:  # noqa: ARG002
        """Fix the home now: by the first request another one may be set."""
        if self.path is None:
            self.path = str(online_store_path(home()))


class ScalespaceOnlineStore(OnlineStore):
    """Packed rows in SQLite; many processes may read while one writes.

    Of two rows of one entity the one with the later event timestamp stays, whatever the order in
    which they are written; of one instant the one created last.
    """

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes, in a thread."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Rows,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of one view in one transaction; of each entity the newest row stays.

        Raises
        ------
        BadInput
            If a value is of another type than its feature, or the file cannot be written.
        """
        if not data:
            return
        schema = row_schema(table.features)
        columns = [
            from_values([values.get(name) for _, values, _, _ in data], kind, table.name, name)
            for name, kind in schema.fields
        ]
        packed = schema.pack(columns, table.name) if columns else [b""] * len(data)
        rows = sorted(
            (
                (
                    entity_text(key),
                    microseconds(event),
                    None if created is None else microseconds(created),
                    row,
                )
                for (key, _, event, created), row in zip(data, packed, strict=True)
            ),
            key=lambda row: row[0],  # of one entity they stay in the order given
        )
        database(config).push(view_id(config, table), schema, rows)
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Rows,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows as `online_write_batch`, in a thread."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Return event timestamp and values of each entity, (None, None) for an unknown one.

        A feature that a row does not have, or has under another type, is left out of it.
        """
        texts = [entity_text(key) for key in entity_keys]
        opened = database(config)
        with opened.explained():
            stored = opened.read(view_id(config, table), list(dict.fromkeys(texts)))
        wanted = [
            (feature.name, kind_of(feature))
            for feature in table.features
            if requested_features is None or feature.name in requested_features
        ]
        found: dict[str, tuple[datetime, dict[str, Value]]] = {}
        for schema, rows in _by_schema(stored):
            known = [field for field in wanted if field in schema.fields]
            columns = schema.unpack([row[3] for row in rows], [n for n, _ in known])
            values = [to_values(columns[name], kind, table.name, name) for name, kind in known]
            names = [name for name, _ in known]
            for place, (text, event, *_) in enumerate(rows):
                row = {n: column[place] for n, column in zip(names, values, strict=True)}
                found[text] = _EPOCH + timedelta(microseconds=event), row
        return [found.get(text, (None, None)) for text in texts]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read as `online_read`, in a thread."""
        return await asyncio.to_thread(
            self.online_read, config, table, entity_keys, requested_features
        )

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Make the tables of views that are kept, and drop those of views that go.

        A file that is damaged, or that is none of ours, is set aside: `trainer sync` fills the new.
        """
        opened = database(config)
        try:
            opened.connection()
        except DamagedStore:
            opened.set_aside()
        with opened.explained():
            for table in tables_to_keep:
                opened.create_view(view_id(config, table))
            for table in tables_to_delete:
                opened.drop_view(view_id(config, table))

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],  # noqa: ARG002
        entities: Sequence[Entity],  # noqa: ARG002
    ) -> None:
        """Delete the file."""
        database(config).remove()

    def _read_features_per_fv(self, config: RepoConfig, *args: Any, **kwargs: Any) -> None:
        # All views of one request are read as of one instant.
        with database(config).reading():
            super()._read_features_per_fv(config, *args, **kwargs)


def database(config: RepoConfig) -> OnlineDatabase:
    """Return the file of a configuration whose online store is a `ScalespaceOnlineStore`."""
    return OnlineDatabase.at(_path(config.repo_path, config.online_store.path))


@lru_cache(maxsize=128)
def _path(repo_path: Path | None, path: str) -> Path:
    return Path(path) if repo_path is None else Path(repo_path, path)


def is_packed(config: RepoConfig) -> bool:
    """Return whether the online store is a `ScalespaceOnlineStore`."""
    return isinstance(config.online_store, ScalespaceOnlineStoreConfig)


def view_id(config: RepoConfig, view: FeatureView) -> str:
    """Return the name of the view's rows in the file, which projects may share."""
    return _view_id(
        config,
        compute_versioned_name(view, config.registry.enable_online_feature_view_versioning),
    )


def _view_id(config: RepoConfig, name: str) -> str:
    return view_prefix(config) + name


def view_prefix(config: RepoConfig) -> str:
    """Return how the names of this project's views begin in the file."""
    return f"{config.project}/"


def microseconds(instant: datetime) -> int:
    """Return microseconds since 1970; a naive instant is UTC."""
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // _MICROSECOND


def stream_rows(
    config: RepoConfig, rows: Iterable[tuple[FeatureView, pa.Table]], instant: datetime
) -> int:
    """Write the rows that are in force at an instant, all views in one transaction.

    Parameters
    ----------
    config : RepoConfig
        Of a store whose online store is a `ScalespaceOnlineStore`.
    rows : iterable of (FeatureView, pyarrow.Table)
        Columns of the join key and of features, at most one row an entity. A feature without a
        column is null.
    instant : datetime
        At which the rows are in force: of two rows of an entity the one of the later instant stays.

    Returns
    -------
    int
        Number of values.
    """
    cells = 0
    packed = []
    for view, table in rows:
        schema = row_schema(view.features)
        columns = [
            to_kind(table.column(feature.name).combine_chunks(), feature, view.name)
            if feature.name in table.column_names
            else pa.nulls(table.num_rows, arrow_type(kind))
            for feature, (_, kind) in zip(view.features, schema.fields, strict=True)
        ]
        entities = [str(key) for key in table.column(view.entity_columns[0].name).to_pylist()]
        made = list(zip(entities, schema.pack(columns, view.name), strict=True))
        packed.append((view_id(config, view), schema, made))
        cells += table.num_rows * len(columns)
    database(config).stream(packed, microseconds(instant))
    return cells


def read_features(
    config: RepoConfig,
    entities: Sequence[str],
    wanted: Mapping[str, Iterable[tuple[str, str]]],
) -> dict[str, dict[str, pa.Array]]:
    """Return features of several views for entities of one join key, all as of one instant.

    Parameters
    ----------
    config : RepoConfig
        Of a store whose online store is a `ScalespaceOnlineStore`.
    entities : sequence of str
        # [entities], the values of the join key as text.
    wanted : mapping of str to iterable of (str, str)
        Of each view, name and kind of the features; see `packing.ARROW` for the kinds.

    Returns
    -------
    dict of str to dict of str to pyarrow.Array
        # [entities] by view and feature, of the types in `packing.ARROW`: an instant is whole
        seconds since 1970. Null for an entity without a row, and for a feature that the row does
        not have under that type.
    """
    rows = read_stored(config, entities, wanted)
    return {view: _columns(rows[view], entities, list(fields)) for view, fields in wanted.items()}


def read_stored(
    config: RepoConfig, entities: Sequence[str], views: Iterable[str]
) -> dict[str, StoredRows]:
    """Return the rows of several views for entities of one join key, all as of one instant."""
    names = list(views)
    stored = database(config).read_views(
        [_view_id(config, name) for name in names], list(dict.fromkeys(entities))
    )
    return dict(zip(names, stored, strict=True))


def packed_rows(
    stored: StoredRows, entities: Sequence[str]
) -> tuple[RowSchema, list[bytes]] | None:
    """Return the one schema of a view's rows and the row of each entity, as it is packed.

    ``None`` where there is no row at all, or rows of several versions of the view. The row of an
    entity without one is null in every feature.
    """
    if len(stored.schemas) != 1:
        return None
    (schema,) = stored.schemas.values()
    rows, missing = stored.rows, schema.missing
    if len(rows) == len(entities):
        return schema, [rows[entity][3] for entity in entities]
    return schema, [rows[entity][3] if entity in rows else missing for entity in entities]


def _columns(
    stored: StoredRows, entities: Sequence[str], wanted: list[tuple[str, str]]
) -> dict[str, pa.Array]:
    if (packed := packed_rows(stored, entities)) is not None:
        return _unpack(*packed, wanted)
    # No row at all, or rows of several versions of the view: each version by itself.
    order: dict[str, int] = {}
    parts = [_unpack(RowSchema(()), [], wanted)]
    for schema, members in _by_schema(stored):
        order.update((row[0], len(order) + place) for place, row in enumerate(members))
        parts.append(_unpack(schema, [row[3] for row in members], wanted))
    places = pa.array([order.get(entity) for entity in entities], pa.int64())
    return {
        name: pa.concat_arrays([part[name] for part in parts]).take(places) for name, _ in wanted
    }


def _unpack(
    schema: RowSchema, packed: list[bytes], wanted: list[tuple[str, str]]
) -> dict[str, pa.Array]:
    known = [name for name, kind in wanted if (name, kind) in schema.kinds]
    found = schema.unpack(packed, known)
    if len(known) == len(wanted):
        return found
    return {
        name: found[name] if name in found else pa.nulls(len(packed), arrow_type(kind))
        for name, kind in wanted
    }


def _by_schema(
    stored: StoredRows,
) -> list[tuple[RowSchema, list[tuple]]]:
    return [
        (schema, [row for row in stored.rows.values() if row[2] == number])
        for number, schema in stored.schemas.items()
    ]
