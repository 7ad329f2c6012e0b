"""A Feast data source for a table in a DuckDB database file."""

import copy
import json
from collections.abc import Callable, Iterable

import duckdb
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.type_map import pa_to_feast_value_type
from feast.value_type import ValueType

from feature_repo.errors import BadInput
from feature_repo.session import first_line, quote
from feature_repo.value_types import spelled

_CLASS = "feature_repo.duckdb_source.DuckDBTableSource"


class DuckDBTableSource(DataSource):
    """A table or view of a DuckDB database file, which is opened read-only.

    Parameters
    ----------
    name : str
    database : str
        Path of the file, relative to the feature repository or absolute.
    table : str
        ``table`` or ``schema.table``.
    timestamp_field, created_timestamp_column, field_mapping, description, tags, owner
        As of every Feast data source.

    Notes
    -----
    DuckDB lets one process write or many read. While a process holds the file open for writing, a
    request is refused; Parquet files have no such limit.
    """

    def __init__(
        self,
        *,
        name: str,
        database: str,
        table: str,
        timestamp_field: str = "",
        created_timestamp_column: str = "",
        field_mapping: dict[str, str] | None = None,
        description: str = "",
        tags: dict[str, str] | None = None,
        owner: str = "",
    ):
        self.database = database
        self.table = table
        super().__init__(
            name=name,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
            description=description,
            tags=tags,
            owner=owner,
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DuckDBTableSource)
            and super().__eq__(other)
            and (self.database, self.table) == (other.database, other.table)
        )

    def __hash__(self) -> int:
        return super().__hash__()

    def at(self, database: str) -> "DuckDBTableSource":
        """Return a copy for the same table of another file."""
        moved = copy.copy(self)
        moved.database = database
        return moved

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        """Return that this is none of the kinds that Feast itself knows."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> "DuckDBTableSource":
        """Return the source that `to_proto` wrote."""
        options = json.loads(data_source.custom_options.configuration)
        return DuckDBTableSource(
            name=data_source.name,
            database=options["database"],
            table=options["table"],
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        options = json.dumps({"database": self.database, "table": self.table})
        proto = DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            field_mapping=self.field_mapping,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=options.encode()),
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )
        proto.timestamp_field = self.timestamp_field
        proto.created_timestamp_column = self.created_timestamp_column
        return proto

    def validate(self, config: RepoConfig) -> None:
        """Raise `BadInput` if the table cannot be read or lacks its timestamp columns."""
        columns = dict(self.get_table_column_names_and_types(config))
        for column in (self.timestamp_field, self.created_timestamp_column):
            if column and column not in columns:
                raise BadInput(
                    f"source {self.name}: no column {column} in table {self.table} of "
                    f"{self.database}"
                )

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """Return what Feast calls an Arrow type."""
        return pa_to_feast_value_type

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """Return name and Arrow type of each column."""
        path = FileSource.get_uri_for_file_path(config.repo_path, self.database)
        query = f"select * from {self.get_table_query_string()} limit 0"
        try:
            with duckdb.connect(path, read_only=True) as connection:
                schema = connection.sql(query).to_arrow_table().schema
        except duckdb.Error as error:
            raise BadInput(
                f"source {self.name}: table {self.table} of {path} cannot be read "
                f"({first_line(error)})"
            ) from None
        return [(field.name, spelled(field.type)) for field in schema]

    def get_table_query_string(self) -> str:
        """Return the table's name as SQL writes it."""
        return ".".join(quote(part) for part in self.table.split("."))
