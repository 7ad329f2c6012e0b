"""A hand-made build: Parquet views and the manifest that dbt would have written for them."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Publish = Callable[..., Path]

DATASET_VARS = {"dataset": "toy", "actions": ["view", "buy"], "session_gap_minutes": 30}


def _duckdb_types(table: pa.Table) -> dict[str, str]:
    with duckdb.connect() as connection:
        connection.register("given", table)
        rows = connection.execute("describe from given").fetchall()
    return {name: data_type for name, data_type, *_ in rows}


def _node(name: str, table: pa.Table, meta: dict) -> dict:
    types = _duckdb_types(table) | meta.pop("types", {})
    return {
        "resource_type": "model",
        "name": name,
        "description": f"One row per user and instant: {name}.",
        "raw_code": f"select * from {name}",
        "config": {"meta": {"publish": "features", "entity": "user"} | meta},
        "columns": {
            column: {"name": column, "data_type": data_type.lower(), "description": f"{column}."}
            for column, data_type in types.items()
        },
    }


@pytest.fixture
def publish() -> Publish:
    """Write `views` into `home` as dbt does: a snapshot behind a symlink, and the manifest.

    `metas` holds what a view's ``meta`` says beside ``publish`` and ``entity``; a key ``types``
    in it overrides the declared types.
    """

    def write(home: Path, views: dict[str, pa.Table], metas: dict[str, dict] | None = None) -> Path:
        snapshot = home / "snapshots" / str(len(list(home.glob("snapshots/*"))))
        snapshot.mkdir(parents=True)
        for name, table in views.items():
            pq.write_table(table, snapshot / f"{name}.parquet")
        link = home / "features"
        link.unlink(missing_ok=True)
        link.symlink_to(snapshot)
        nodes = {
            f"model.scalespace.{name}": _node(name, table, dict((metas or {}).get(name, {})))
            for name, table in views.items()
        }
        nodes["model.scalespace.stg_events"] = {
            "resource_type": "model",
            "name": "stg_events",
            "description": "One row per event.",
            "raw_code": "select 1",
            "config": {"meta": {"dataset_vars": DATASET_VARS}},
            "columns": {},
        }
        (home / "target").mkdir(exist_ok=True)
        manifest = {
            "metadata": {"project_name": "scalespace", "invocation_id": os.urandom(8).hex()},
            "nodes": nodes,
            "macros": {},
        }
        (home / "target" / "manifest.json").write_text(json.dumps(manifest))
        return home

    return write


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test does to ``SCALESPACE_HOME``."""
    monkeypatch.setenv("SCALESPACE_HOME", "")
    yield


@pytest.fixture
def make_store(tmp_path: Path) -> Callable:
    """Return a function that makes a feature store of views in files of `tmp_path`."""
    from feast import FeatureStore, RepoConfig

    def make(*objects, **offline):
        store = FeatureStore(
            config=RepoConfig(
                project="test",
                registry=str(tmp_path / "registry.db"),
                online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
                offline_store={"type": "feature_repo.offline_store.ScalespaceOfflineStore"}
                | offline,
                coerce_tz_aware=False,
                repo_path=tmp_path,
            )
        )
        store.apply(list(objects))
        return store

    return make


@pytest.fixture
def make_view(tmp_path: Path) -> Callable:
    """Return a function that writes a table and declares a feature view over it."""
    from feast import Entity, FeatureView, Field, FileSource
    from feast.type_map import pa_to_feast_value_type
    from feast.types import from_value_type

    def make(name: str, table: pa.Table, keys=("user_id",), **options):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path)
        source = {
            key: options.pop(key)
            for key in ("created_timestamp_column", "field_mapping")
            if key in options
        }
        timestamp = options.pop("timestamp_field", "event_timestamp")
        renamed = source.get("field_mapping", {})
        skipped = {timestamp, source.get("created_timestamp_column")}
        schema = [
            Field(
                name=renamed.get(field.name, field.name),
                dtype=from_value_type(pa_to_feast_value_type(str(field.type))),
            )
            for field in table.schema
            if renamed.get(field.name, field.name) not in skipped
        ]
        entities = [
            Entity(
                name=key.removesuffix("_id"),
                join_keys=[key],
                value_type=next(f.dtype for f in schema if f.name == key).to_value_type(),
            )
            for key in keys
        ]
        view = FeatureView(
            name=name,
            entities=entities,
            schema=schema,
            source=FileSource(name=name, path=str(path), timestamp_field=timestamp, **source),
            ttl=options.pop("ttl", timedelta(0)),
        )
        return view, entities

    return make
