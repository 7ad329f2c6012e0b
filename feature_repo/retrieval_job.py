"""What a request to the offline store returns: run when the result is asked for."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput

if TYPE_CHECKING:
    from feast.saved_dataset import ValidationReference


class DuckDBRetrievalJob(RetrievalJob):
    """A table that is computed when it is asked for.

    Parameters
    ----------
    compute : callable
        Returns the table, on demand views left out.
    repo_path : Path, optional
        To which relative paths of saved datasets refer.
    metadata : RetrievalMetadata, optional
    on_demand_feature_views : sequence of OnDemandFeatureView
    full_feature_names : bool
    """

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        repo_path: Path | None,
        metadata: RetrievalMetadata | None = None,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        full_feature_names: bool = False,
    ):
        self._compute = compute
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
        return self._metadata

    def to_df(
        self,
        validation_reference: "ValidationReference | None" = None,
        timeout: int | None = None,
    ) -> pd.DataFrame:
        """Return the result as pandas: integers beside nulls are ``Int64``, not floats.

        A float column cannot tell null from NaN in pandas; `to_arrow` can.
        """
        return _to_pandas(self.to_arrow(validation_reference, timeout))

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Write the result to the Parquet file of `storage`."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise BadInput("a dataset can be saved to SavedDatasetFileStorage only")
        path = FileSource.get_uri_for_file_path(self._repo_path, storage.file_options.uri)
        if os.path.exists(path) and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=path)
        with replacing(Path(path)) as fresh:
            pq.write_table(self.to_arrow(timeout=timeout), fresh)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:  # noqa: ARG002
        return _to_pandas(self._compute())


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
