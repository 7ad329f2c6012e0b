"""What Feast's universal tests read through FULL_REPO_CONFIGS_MODULE: this store, and its own.

It is imported inside Feast's test tree by `run.sh`, never by this project's tests.
"""

import os

from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig
from tests.universal.feature_repos.universal.data_sources.file import FileDataSourceCreator

from feature_repo.offline_store import ScalespaceOfflineStoreConfig


class ScalespaceDataSourceCreator(FileDataSourceCreator):
    """Parquet files, read by this project's store."""

    def create_offline_store_config(self) -> ScalespaceOfflineStoreConfig:
        return ScalespaceOfflineStoreConfig()


class StockDataSourceCreator(FileDataSourceCreator):
    """The same files, read by Feast's DuckDB store."""

    def create_offline_store_config(self) -> DuckDBOfflineStoreConfig:
        return DuckDBOfflineStoreConfig()


_CREATORS = {"ours": ScalespaceDataSourceCreator, "stock": StockDataSourceCreator}

AVAILABLE_OFFLINE_STORES = [("local", _CREATORS[os.environ["FEAST_SUITE_STORE"]])]
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "sqlite"}, None)}
