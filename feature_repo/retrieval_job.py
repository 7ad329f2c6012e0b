"""What a request to the offline store returns: run when the result is asked for."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.errors import BadInput
from feature_repo.parquet import save, write
from feature_repo.queries import Query, TableQuery

if TYPE_CHECKING:
    from feast.saved_dataset import ValidationReference

# A row group of DuckDB's; of Parquet files it is a usual size too.
BATCH_ROWS = 122_880


class DuckDBRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for.

    Parameters
    ----------
    query : Query
        Gives the rows, on demand features left out.
    repo_path : Path, optional
        To which relative paths of saved datasets refer.
    metadata : callable, optional
        Returns what was asked; called when somebody wants to know, since it may run a query.
    on_demand_feature_views : sequence of OnDemandFeatureView
    full_feature_names : bool
    """

    def __init__(
        self,
        query: Query,
        repo_path: Path | None,
        metadata: Callable[[], RetrievalMetadata] | None = None,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        full_feature_names: bool = False,
    ):
        self._query = query
        self._repo_path = repo_path
        self._metadata = metadata
        self._on_demand_feature_views = list(on_demand_feature_views)
        self._full_feature_names = full_feature_names

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named ``<view>__<feature>``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The views to be computed from the result."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked."""
        return self._metadata() if self._metadata else None

    def to_df(
        self,
        validation_reference: "ValidationReference | None" = None,
        timeout: int | None = None,
    ) -> pd.DataFrame:
        """Return the result as pandas: integers beside nulls are ``Int64``, not floats.

        A float column cannot tell null from NaN in pandas; `to_arrow` can.
        """
        return _to_pandas(self.to_arrow(validation_reference, timeout))

    def to_arrow_batches(self, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the result as a stream, in the order of the asked rows.

        Parameters
        ----------
        batch_rows : int
            At most this many rows a batch.

        Notes
        -----
        The result is never held whole, only a batch of it; what is not read yet lies with DuckDB,
        under ``memory_limit`` and in ``temp_directory``. On demand features are computed batch by
        batch, which is the same as long as they are, as online, functions of one row. Read the
        stream to its end, or close it, to give back what it holds.
        """
        batches = self._batches(batch_rows)
        schema = next(batches)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def to_parquet(self, path: Path | str) -> None:
        """Write the result to a Parquet file as it comes, never holding it whole.

        The file appears when it is whole; one that was there before is replaced.
        """
        write(self.to_arrow_batches(), Path(path))

    def to_sql(self) -> str:
        """Return SQL that gives the result in DuckDB (time zone UTC), on demand features left out.

        A frame that was given in memory must be there under the name ``entity_df``.
        """
        return self._query.sql()

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,  # noqa: ARG002
    ) -> None:
        """Write the result to the Parquet file or folder of `storage`.

        Raises
        ------
        SavedDatasetLocationAlreadyExists
            If something is there and `allow_overwrite` is not set.
        BadInput
            If `storage` is no file storage, or remote.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise BadInput("a dataset can be saved to SavedDatasetFileStorage only")
        save(self.to_arrow_batches, storage.file_options.uri, self._repo_path, allow_overwrite)

    def _batches(self, batch_rows: int) -> Iterator:
        """Yield the schema and then the batches, in the session that closes behind the last."""
        with self._query.open(batch_rows) as reader:
            if not self._on_demand_feature_views:
                yield reader.schema
                yield from reader
                return
            # Types of what a function returns are known from rows, and not before.
            first = next(reader, None)
            given = pa.Table.from_batches([first] if first is not None else [], reader.schema)
            table = self._transformed(given)
            yield table.schema
            yield from table.to_batches()
            for batch in reader:
                rows = self._transformed(pa.Table.from_batches([batch]))
                yield from rows.cast(table.schema).to_batches()

    def _transformed(self, table: pa.Table) -> pa.Table:
        # Feast computes on demand features of a job's whole table, so each batch is a job.
        return DuckDBRetrievalJob(
            TableQuery(table),
            self._repo_path,
            self._metadata,
            self._on_demand_feature_views,
            self._full_feature_names,
        ).to_arrow()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        with self._query.open(BATCH_ROWS) as reader:
            return reader.read_all()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return _to_pandas(self._to_arrow_internal(timeout))


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas()
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_integer(column.type) and column.null_count:
            frame[name] = column.to_pandas(types_mapper=_NULLABLE.get)
    return frame


_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
