"""Feast's own Spark store over the same Parquet answers as ours does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from feature_repo.configuration import CONFIGURATION_VARIABLE, REPOSITORY
from feature_repo.store import apply, open_store
from store_servers import PostgresServer, RedisServer

pytestmark = pytest.mark.spark

SPARK_YAML = REPOSITORY / "feature_store.spark.yaml"
SERVICES = ("user_scale_7d", "family_user_recency", "family_user_sequence")


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Redis for the online store, PostgreSQL for the registry; both of this test alone."""
    redis, postgres = RedisServer(tmp_path), PostgresServer()
    redis.start()
    postgres.start()
    monkeypatch.setenv("SCALESPACE_REDIS", f"127.0.0.1:{redis.port}")
    url = f"postgresql+psycopg://tests@127.0.0.1:{postgres.port}/postgres"
    monkeypatch.setenv("SCALESPACE_REGISTRY", url)
    yield
    redis.stop()
    postgres.stop()


def test_the_files_differ_in_the_stores_alone() -> None:
    usual, spark = (
        yaml.safe_load(path.read_text()) for path in (REPOSITORY / "feature_store.yaml", SPARK_YAML)
    )
    stores = dict.fromkeys(("registry", "online_store", "offline_store"))
    assert {**usual, **stores} == {**spark, **stores}


def test_history_by_spark_is_ours(
    spark_shop: Path, servers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spine = pq.read_table(spark_shop / "labels" / "spine.parquet").to_pandas()
    rows = spine.sample(300, random_state=7)[["user_id", "event_timestamp"]]
    # And before anything happened, of nobody, and of instants between two of the spine.
    rows = pd.concat(
        [
            rows,
            rows.head(50).assign(event_timestamp=lambda r: r.event_timestamp + pd.Timedelta("1us")),
            rows.head(50).assign(event_timestamp=lambda r: r.event_timestamp - pd.Timedelta("1us")),
            rows.head(5).assign(event_timestamp=pd.Timestamp("2000-01-01")),
            rows.head(5).assign(user_id=[f"nobody {n}" for n in range(5)]),
        ]
    ).drop_duplicates()
    rows["event_timestamp"] = rows["event_timestamp"].dt.tz_localize("UTC")

    ours = apply(spark_shop)
    expected = {
        s: ours.get_historical_features(rows, ours.get_feature_service(s)).to_df() for s in SERVICES
    }

    monkeypatch.setenv(CONFIGURATION_VARIABLE, str(SPARK_YAML))
    apply(spark_shop)
    store = open_store(spark_shop)
    assert {s.name for s in store.list_feature_services()} == {
        s.name for s in ours.list_feature_services()
    }
    for service in SERVICES:
        found = store.get_historical_features(rows, store.get_feature_service(service)).to_df()
        assert_same(expected[service], found)


def assert_same(expected: pd.DataFrame, found: pd.DataFrame) -> None:
    """Equal in every cell, whatever the order of the rows."""
    assert set(expected.columns) == set(found.columns)
    assert len(expected) == len(found)
    keys = ["user_id", "event_timestamp"]
    for frame in (expected, found):
        frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], utc=True)
    expected, found = (f.sort_values(keys).reset_index(drop=True) for f in (expected, found))
    filled = 0
    for column in expected.columns:
        for one, other in zip(expected[column], found[column], strict=True):
            filled += cell(one) is not None
            assert cell(one) == cell(other), f"{column}: {one!r} and {other!r}"
    assert filled > 1_000


def cell(value: Any) -> object:
    """A cell as it can be compared: no arrays, one missing value, one kind of instant."""
    if isinstance(value, (list, np.ndarray)):
        return [cell(element) for element in value]
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_localize("UTC") if value.tzinfo is None else value.tz_convert("UTC")
    return value
