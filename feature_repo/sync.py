"""Load the online store with the values in force at an instant."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.home import online_now_path
from feature_repo.store import open_store

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureView

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SyncReport:
    """What a sync loaded.

    Attributes
    ----------
    instant : datetime
        In UTC.
    views : int
        Feature views loaded.
    entities : int
        Entities with a history at the instant.
    cells : int
        Values written, one per row and feature.
    """

    instant: datetime
    views: int
    entities: int
    cells: int


def sync(home: Path, at: datetime | None = None) -> SyncReport:
    """Make the online store hold each entity's values at the instant `at`, and nothing else.

    Parameters
    ----------
    home : Path
        Home of the run; its views must have been registered.
    at : datetime, optional
        A naive one is UTC. Default the clock.

    Returns
    -------
    SyncReport

    Raises
    ------
    BadInput
        If nothing is registered, or a view cannot be read.

    Notes
    -----
    ``feast materialize`` would leave newer rows and departed entities in place and add an interval
    to the registry each time; this writes a fresh store and swaps it in, so that a sync to an
    earlier instant after a later one gives exactly the earlier values. The registry is not
    touched. All views are read from one published snapshot.
    """
    from feast.infra.online_stores.helpers import get_online_store_from_config

    from feature_repo.offline_store import ScalespaceOfflineStore
    from feature_repo.online_store import HomeSqliteOnlineStore
    from feature_repo.sources import Snapshot

    instant = at or datetime.now(UTC)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    instant = instant.astimezone(UTC)
    store = open_store(home)
    views = [view for view in store.list_feature_views() if view.online]
    online = get_online_store_from_config(store.config.online_store)
    if not isinstance(online, HomeSqliteOnlineStore):
        raise BadInput(
            f"{type(online).__name__} cannot be loaded whole: use `feast materialize`, or "
            "HomeSqliteOnlineStore in feature_store.yaml"
        )
    snapshot = Snapshot(store.config.repo_path)
    entities: set[tuple] = set()

    def latest() -> Iterator[tuple["FeatureView", "pa.Table"]]:
        for view in views:
            keys = [field.name for field in view.entity_columns]
            source = snapshot.pin(view.batch_source, view.name)
            rows = ScalespaceOfflineStore.pull_latest_from_table_or_query(
                store.config,
                source,
                join_key_columns=keys,
                feature_name_columns=[feature.name for feature in view.features],
                timestamp_field=source.timestamp_field,
                created_timestamp_column=source.created_timestamp_column,
                start_date=_BEGINNING,
                end_date=instant,
            ).to_arrow()
            values = zip(*(rows.column(key).to_pylist() for key in keys), strict=True)
            entities.update((*keys, *value) for value in values)
            yield view, rows

    cells = online.replace_contents(store.config, latest())
    with replacing(online_now_path(home)) as fresh:
        fresh.write_text(json.dumps({"at": instant.isoformat()}), encoding="utf-8")
    return SyncReport(instant, len(views), len(entities), cells)


def online_now(home: Path) -> datetime:
    """Return the instant for which the online store is loaded, in UTC.

    Raises
    ------
    BadInput
        If it was never loaded.
    """
    path = online_now_path(home)
    try:
        return datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["at"])
    except FileNotFoundError:
        raise BadInput(
            f"the online store in {home} is empty: load it with `trainer sync` first"
        ) from None
