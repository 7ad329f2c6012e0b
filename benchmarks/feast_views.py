"""The Feast store of a benchmark: each file ``view_<n>.parquet`` of a folder is a view of users."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from feast import FeatureStore

KEYS = ("user_id", "event_timestamp")


def open_store(
    home: Path,
    folder: Path,
    offline_store: dict[str, str],
    online_store: dict[str, str],
    registry_cache: str = "sync",
) -> "FeatureStore":
    """Return a store with a registry of its own in `home`, in which the views are registered."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.repo_config import RegistryConfig
    from feast.types import Float64, Int64
    from feast.value_type import ValueType

    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=RegistryConfig(path=str(home / "registry.db"), cache_mode=registry_cache),
        offline_store=offline_store,
        online_store=online_store,
        entity_key_serialization_version=3,
        repo_path=home,
    )
    store = FeatureStore(config=config)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=path.stem,
            entities=[user],
            # No TTL: stores differ in what they do with rows that have only expired values.
            ttl=timedelta(0),
            schema=[
                Field(name=field.name, dtype=Int64 if pa.types.is_integer(field.type) else Float64)
                for field in pq.read_schema(path)
                if field.name not in KEYS
            ],
            source=FileSource(path=str(path), timestamp_field="event_timestamp"),
        )
        for path in view_files(folder)
    ]
    store.apply([user, *views])
    return store


def view_files(folder: Path) -> list[Path]:
    """Return the files of the views, in order."""
    return sorted(folder.glob("view_*.parquet"))


def feature_names(view: Path) -> list[str]:
    """Return the features of a file."""
    return [name for name in pq.read_schema(view).names if name not in KEYS]


def references(folder: Path) -> list[str]:
    """Return what to ask Feast for to get all features of all views."""
    return [f"{view.stem}:{name}" for view in view_files(folder) for name in feature_names(view)]
