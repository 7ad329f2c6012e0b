"""What Feast's universal tests read through FULL_REPO_CONFIGS_MODULE: the store and its sources.

It is imported inside Feast's test tree by `run.sh`, never by this project's tests.
"""

import os
import re
import tempfile
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FileSource
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig
from tests.universal.feature_repos.universal.data_sources.file import FileDataSourceCreator

from feature_repo.duckdb_source import DuckDBTableSource
from feature_repo.offline_store import ScalespaceOfflineStoreConfig

_CONFIGS = {"ours": ScalespaceOfflineStoreConfig, "stock": DuckDBOfflineStoreConfig}
_STORE = os.environ["FEAST_SUITE_STORE"]


def _store_under_test(
    _: FileDataSourceCreator,
) -> ScalespaceOfflineStoreConfig | DuckDBOfflineStoreConfig:
    return _CONFIGS[_STORE]()


# Tests of online stores and of `apply` name this class themselves: they, too, shall read and write
# through the store under test.
FileDataSourceCreator.create_offline_store_config = _store_under_test


class FolderDataSourceCreator(FileDataSourceCreator):
    """Each source is a folder of two Parquet files; Feast's own class for folders is broken."""

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
    ) -> FileSource:
        """Write `df` in two halves and return the source."""
        folder = tempfile.mkdtemp(prefix=self.get_prefixed_table_name(destination_name))
        self.dirs.append(folder)
        table = pa.Table.from_pandas(df)
        half = table.num_rows // 2
        pq.write_table(table.slice(0, half), Path(folder) / "part-0.parquet")
        pq.write_table(table.slice(half), Path(folder) / "part-1.parquet")
        return FileSource(
            file_format=ParquetFormat(),
            path=folder,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping or {"ts_1": "ts"},
        )


class TableDataSourceCreator(FileDataSourceCreator):
    """Each source is a table of one DuckDB database, which entity rows from SQL name as well."""

    def __init__(self, project_name: str, *args, **kwargs):
        super().__init__(project_name, *args, **kwargs)
        folder = tempfile.mkdtemp(prefix=project_name)
        self.dirs.append(folder)
        self._database = str(Path(folder) / "sources.duckdb")
        duckdb.connect(self._database).close()

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
    ) -> DuckDBTableSource:
        """Write `df` to a table and return the source."""
        name = re.sub(r"\W", "_", self.get_prefixed_table_name(destination_name))
        with duckdb.connect(self._database) as connection:
            connection.register("given", pa.Table.from_pandas(df, preserve_index=False))
            connection.execute(f"create or replace table {name} as from given")
        return DuckDBTableSource(
            name=name,
            database=self._database,
            table=name,
            timestamp_field=timestamp_field or "",
            created_timestamp_column=created_timestamp_column or "",
            field_mapping=field_mapping or {"ts_1": "ts"},
        )

    def create_offline_store_config(self) -> ScalespaceOfflineStoreConfig:
        """Return the settings of the store, which reads this database."""
        return ScalespaceOfflineStoreConfig(database=self._database)


AVAILABLE_OFFLINE_STORES = [("local", FileDataSourceCreator), ("local", FolderDataSourceCreator)]
if _STORE == "ours":
    AVAILABLE_OFFLINE_STORES.append(("local", TableDataSourceCreator))
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "sqlite"}, None)}
