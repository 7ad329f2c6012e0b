"""A Feast offline store over DuckDB's as-of join on Parquet files and DuckDB tables.

Feast's own DuckDB store joins by inequality, which is quadratic in the rows of an entity.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, overload

import duckdb
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import _parse_feature_ref, compute_non_entity_date_range
from pydantic import StrictInt, StrictStr

from feature_repo import parquet
from feature_repo.entity_frame import EntityFrame, rows_of_range
from feature_repo.errors import BadInput
from feature_repo.home import features_dir, home
from feature_repo.point_in_time import ViewJoin
from feature_repo.queries import HistoricalQuery, SourceQuery
from feature_repo.retrieval_job import DuckDBRetrievalJob
from feature_repo.session import SessionSettings, literal, lookup, quote, session
from feature_repo.sources import Relation, Snapshot
from feature_repo.value_types import spelled


class ScalespaceOfflineStoreConfig(FeastConfigBaseModel):
    """Settings under ``offline_store:``; see `feature_repo.session.SessionSettings`."""

    type: Literal["feature_repo.offline_store.ScalespaceOfflineStore"] = (
        "feature_repo.offline_store.ScalespaceOfflineStore"
    )
    threads: StrictInt | None = None
    memory_limit: StrictStr | None = None
    temp_directory: StrictStr | None = None
    database: StrictStr | None = None


class ScalespaceOfflineStore(OfflineStore):
    """Point-in-time joins and pulls over Parquet files and DuckDB tables."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        filter_by_created_timestamp: bool = False,
    ) -> DuckDBRetrievalJob:
        """Return, for each row of `entity_df`, the values in force at its event timestamp.

        The result has the rows that were asked for, in their order, with all their columns, and
        then the features in the order of `feature_refs`. A naive timestamp is UTC. All views are
        read from the snapshot that is published when this method is called.

        Parameters
        ----------
        entity_df : pandas.DataFrame, pyarrow.Table, str or None
            A text is a ``select`` in DuckDB's SQL; it may name Parquet files, and tables of
            ``offline_store.database``. None stands for all keys and instants at which one of the
            views has a row between `start_date` and `end_date`, both included.
        filter_by_created_timestamp : bool
            Whether a row may be used only if it was created at or before the asking instant: what
            was known then, and not what is known now.

        Raises
        ------
        BadInput
            If a file or column is missing, a type does not fit, or a feature has the name of a
            column of `entity_df`.
        """
        settings = _settings(config)
        asked = _parsed(feature_refs)
        views = [(view, _requested(view, asked)) for view in feature_views]
        views = [(view, names) for view, names in views if names]
        snapshot = Snapshot(config.repo_path)
        plain = _is_plain(settings, entity_df, views, snapshot)
        with lookup() if plain else session(settings) as connection:
            relations = [
                snapshot.relation(connection, view.batch_source, view.name) for view, _ in views
            ]
            if entity_df is None:
                start, end = compute_non_entity_date_range(feature_views, start_date, end_date)
                rows = _rows_of_range(
                    connection,
                    [
                        (view, relation)
                        for (view, _), relation in zip(views, relations, strict=True)
                    ],
                    start,
                    end,
                    bool(config.coerce_tz_aware),
                )
            else:
                rows = _entity_frame(connection, entity_df)
        joins: list[ViewJoin] = []
        # Where each feature comes from: number of the join, number of the column in it.
        origin: dict[str, tuple[int, int]] = {}
        for (view, names), relation in zip(views, relations, strict=True):
            joins.append(_view_join(view, list(names), relation, rows, filter_by_created_timestamp))
            for position, name in enumerate(names):
                output = f"{_output_prefix(view)}__{name}" if full_feature_names else name
                if output in origin:
                    other = joins[origin[output][0]].relation.view
                    raise BadInput(
                        f"feature {name} is in view {other} and in view {view.name}; ask with "
                        "full_feature_names=True"
                    )
                origin[output] = (len(joins) - 1, position)
        outputs = _in_asked_order([view for view, _ in views], asked, full_feature_names, origin)
        _check_collisions(rows.schema.names, outputs)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        if not full_feature_names:
            _check_on_demand(on_demand, [*rows.schema.names, *outputs])

        def metadata() -> RetrievalMetadata:
            with session(settings) as connection:
                bounds = (start, end) if entity_df is None else rows.bounds(connection)
            first, last = (_aware(bound) for bound in bounds)
            keys = [name for name in rows.schema.names if name != rows.timestamp]
            return RetrievalMetadata(list(feature_refs), keys, first, last)

        return DuckDBRetrievalJob(
            HistoricalQuery(
                settings, rows, tuple(joins), tuple((name, *origin[name]) for name in outputs)
            ),
            config.repo_path,
            metadata,
            on_demand,
            full_feature_names,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Return each entity's latest row with an event timestamp in [`start_date`, `end_date`].

        A row without a join key belongs to no entity and is left out.
        """

        def sql(source: Relation) -> str:
            keys = [source.column(key) for key in join_key_columns]
            order = [f"{source.instant(timestamp_field)} desc"]
            if created_timestamp_column:
                order.append(f"{source.instant(created_timestamp_column)} desc nulls last")
            order.append(f"{source.position} desc")
            partition = f"partition by {', '.join(keys)} " if keys else ""
            return f"""
                select {_select(source, columns)} from {source.sql}
                where {
                " and ".join(
                    [
                        *_between(source, timestamp_field, start_date, end_date),
                        *(f"{key} is not null" for key in keys),
                    ]
                )
            }
                qualify row_number() over ({partition}order by {", ".join(order)}) = 1
            """

        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        if created_timestamp_column:
            columns.append(created_timestamp_column)
        return _pull(config, data_source, sql)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return all rows with an event timestamp in [`start_date`, `end_date`].

        Feast asks a saved dataset for ``event_timestamp``, whatever its timestamp is called. One
        that has another is returned whole: the asked range is the range of its own rows.
        """
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        if created_timestamp_column:
            columns.append(created_timestamp_column)

        def sql(source: Relation) -> str:
            if not data_source.timestamp_field and timestamp_field not in source.types:
                return f"select {_select(source, list(source.types))} from {source.sql}"
            conditions = _between(source, timestamp_field, start_date, end_date)
            where = f"where {' and '.join(conditions)}" if conditions else ""
            return f"select {_select(source, columns)} from {source.sql} {where}"

        return _pull(config, data_source, sql)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Add the rows of `table` to the Parquet file or folder of `feature_view`.

        Raises
        ------
        BadInput
            If the source is none that can be written, or the columns are not the source's. A view
            that dbt published is none: the next build would drop the rows without a word.
        """
        source = feature_view.batch_source
        if not isinstance(source, FileSource):
            raise BadInput(f"view {feature_view.name}: rows can be added to Parquet files only")
        if Path(source.path).parent == features_dir(home()):
            raise BadInput(
                f"view {feature_view.name}: {source.path} is what dbt published, and the next "
                "build would drop added rows; add events to the log and build"
            )
        with session(_settings(config)) as connection:
            relation = Snapshot(config.repo_path).relation(connection, source, feature_view.name)
        if table.column_names != list(relation.types):
            raise BadInput(
                f"view {feature_view.name}: the table has the columns "
                f"{', '.join(table.column_names)}; the source has {', '.join(relation.types)}"
            )
        if relation.names:
            raise BadInput(
                f"view {feature_view.name}: columns of its source differ in case alone "
                f"({', '.join(relation.names)}), so rows cannot be added; rename them"
            )
        parquet.append(table, source, config.repo_path, _settings(config))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,  # noqa: ARG004
        logging_config: LoggingConfig,
        registry: BaseRegistry,  # noqa: ARG004
    ) -> None:
        """Add logged features, a table or a folder of Parquet files, to their destination.

        Raises
        ------
        BadInput
            If the destination is no local folder.
        """
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise BadInput("features can be logged to a FileLoggingDestination only")
        parquet.add_logs(
            data, destination.path, destination.partition_by, config.repo_path, _settings(config)
        )

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Raise `BadInput` if a source cannot be read or its timestamps are none.

        Feast's own ``feast apply`` asks for each source; `check_views` sees the views as well.
        """
        with session(_settings(config)) as connection:
            _checked_source(Snapshot(config.repo_path), connection, data_source, data_source.name)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Return name and Arrow type of each column; `apply` asks where no schema is declared.

        Raises
        ------
        BadInput
            As `validate_data_source`, and if a column has a type that Feast cannot carry.
        """
        with session(_settings(config)) as connection:
            relation = _checked_source(
                Snapshot(config.repo_path), connection, data_source, data_source.name
            )
            for name in relation.types:
                relation.feature(name)
            schema = connection.sql(f"select * from {relation.sql} limit 0").to_arrow_table().schema
        return [
            (name, spelled(field.type)) for name, field in zip(relation.types, schema, strict=True)
        ]


def check_views(views: Iterable[FeatureView]) -> None:
    """Compare what `views` declare with their sources, before they are registered.

    Raises
    ------
    BadInput
        If a source cannot be read, lacks a column of its view, or has one of a type that Feast
        cannot carry; the message names the view.
    """
    snapshot = Snapshot(None)
    with session(SessionSettings()) as connection:
        for view in views:
            relation = _checked_source(snapshot, connection, view.batch_source, view.name)
            relation.require(stored for _, stored in _join_keys(view))
            for feature in view.features:
                assert view.batch_source is not None  # its relation would have been refused
                relation.feature(_in_source(view.batch_source, feature.name))


def _checked_source(
    snapshot: Snapshot,
    connection: duckdb.DuckDBPyConnection,
    source: DataSource | None,
    view: str,
) -> Relation:
    relation = snapshot.relation(connection, source, view)
    assert source is not None  # its relation would have been refused
    for name in (source.timestamp_field, source.created_timestamp_column):
        if name:
            relation.instant(_in_source(source, name))
    return relation


def _settings(config: RepoConfig) -> SessionSettings:
    given = config.offline_store
    database = given.database
    if database is not None:
        database = FileSource.get_uri_for_file_path(config.repo_path, database)
    folder = str(config.repo_path) if config.repo_path is not None else None
    return SessionSettings(
        given.threads, given.memory_limit, given.temp_directory, database, folder
    )


def _is_plain(
    settings: SessionSettings,
    entity_df: Any,
    views: list[tuple[FeatureView, dict[str, None]]],
    snapshot: Snapshot,
) -> bool:
    """Return whether a request can be understood without a session of its own."""
    return (
        isinstance(entity_df, (pd.DataFrame, pa.Table))
        # A session says which setting is wrong before a file is blamed. A bad folder to spill to
        # is seen by none.
        and settings
        == SessionSettings(temp_directory=settings.temp_directory, folder=settings.folder)
        and all(snapshot.is_local(view.batch_source) for view, _ in views)
    )


def _entity_frame(connection: duckdb.DuckDBPyConnection, entity_df: Any) -> EntityFrame:
    if isinstance(entity_df, pd.DataFrame):
        return EntityFrame.of_pandas(entity_df)
    if isinstance(entity_df, pa.Table):
        return EntityFrame.of_arrow(entity_df)
    if isinstance(entity_df, str):
        return EntityFrame.of_sql(connection, entity_df)
    raise BadInput(
        f"entity_df is a {type(entity_df).__name__}; this store takes a pandas DataFrame, a "
        "pyarrow Table or a SQL text"
    )


def _rows_of_range(
    connection: duckdb.DuckDBPyConnection,
    views: list[tuple[FeatureView, Relation]],
    start: datetime,
    end: datetime,
    aware: bool,
) -> EntityFrame:
    selects = []
    for view, relation in views:
        source = view.batch_source
        assert source is not None  # its relation would have been refused
        keys = {asked: relation.column(stored) for asked, stored in _join_keys(view)}
        timestamp = relation.instant(_in_source(source, source.timestamp_field))
        selects.append((keys, timestamp, relation.sql))
    setup = [statement for _, relation in views for statement in relation.setup]
    return rows_of_range(
        connection, selects, _naive(start), _naive(end), aware, list(dict.fromkeys(setup))
    )


def _parsed(feature_refs: list[str]) -> list[tuple[str, str]]:
    """Return the view, as its projection is called, and the feature of each reference."""
    asked = []
    for ref in feature_refs:
        view, version, feature = _parse_feature_ref(ref)
        asked.append((view if version is None else f"{view}@v{version}", feature))
    return asked


def _requested(view: FeatureView, asked: list[tuple[str, str]]) -> dict[str, None]:
    own = view.projection.name_to_use()
    # A dictionary, because a feature asked for twice is one column.
    names = dict.fromkeys(name for asked_view, name in asked if asked_view == own)
    known = {feature.name for feature in view.features}
    for name in names:
        if name not in known:
            raise BadInput(f"view {view.name} has no feature {name}; run `feast apply`")
    return names


def _output_prefix(view: FeatureView) -> str:
    return view.projection.name_alias or view.name


def _in_asked_order(
    feature_views: list[FeatureView],
    asked: list[tuple[str, str]],
    full_feature_names: bool,
    origin: dict[str, tuple[int, int]],
) -> list[str]:
    prefixes = {view.projection.name_to_use(): _output_prefix(view) for view in feature_views}
    outputs: dict[str, None] = {}
    for view, name in asked:
        # The others are features of on demand views, which are computed later.
        if view in prefixes:
            outputs[f"{prefixes[view]}__{name}" if full_feature_names else name] = None
    assert outputs.keys() == origin.keys()
    return list(outputs)


def _check_collisions(columns: list[str], outputs: list[str]) -> None:
    for name in outputs:
        if name in columns:
            raise BadInput(
                f"{name} is a column of the entity frame and a feature; rename the column, or ask "
                "with full_feature_names=True"
            )


def _check_on_demand(views: list[OnDemandFeatureView], columns: list[str]) -> None:
    owner: dict[str, str] = {}
    for view in views:
        for feature in view.features:
            if feature.name in columns:
                raise BadInput(
                    f"on demand view {view.name}: its output {feature.name} is also a column that "
                    "it is computed from; rename the output, or ask with full_feature_names=True"
                )
            if feature.name in owner:
                raise BadInput(
                    f"feature {feature.name} is in view {owner[feature.name]} and in view "
                    f"{view.name}; ask with full_feature_names=True"
                )
            owner[feature.name] = view.name


def _join_keys(view: FeatureView) -> list[tuple[str, str]]:
    """Return the column of the entity frame and of the source for each join key."""
    source = view.batch_source
    assert source is not None
    return [
        (view.projection.join_key_map.get(field.name, field.name), _in_source(source, field.name))
        for field in view.entity_columns
        if field.name != DUMMY_ENTITY_ID
    ]


def _in_source(source: DataSource, name: str) -> str:
    """Return what the source calls a column, before its field mapping."""
    return {new: old for old, new in source.field_mapping.items()}.get(name, name)


def _view_join(
    view: FeatureView, names: list[str], relation: Relation, rows: EntityFrame, as_known: bool
) -> ViewJoin:
    source = view.batch_source
    assert source is not None  # its relation would have been refused
    join_keys = _join_keys(view)
    for column, _ in join_keys:
        if column not in rows.schema.names:
            raise BadInput(f"view {view.name}: the entity frame has no column {column}; add it")
    created = source.created_timestamp_column
    result = ViewJoin(
        relation=relation,
        join_keys=tuple(join_keys),
        timestamp=_in_source(source, source.timestamp_field),
        created=_in_source(source, created) if created else None,
        ttl=view.ttl or timedelta(0),
        columns=tuple(_in_source(source, name) for name in names),
        as_known=as_known,
    )
    result.check(rows)
    return result


def _pull(
    config: RepoConfig, data_source: DataSource, select: Callable[[Relation], str]
) -> DuckDBRetrievalJob:
    def relate(connection: duckdb.DuckDBPyConnection) -> Relation:
        return Snapshot(config.repo_path).relation(connection, data_source, data_source.name)

    return DuckDBRetrievalJob(SourceQuery(_settings(config), relate, select), config.repo_path)


def _select(source: Relation, columns: list[str]) -> str:
    return ", ".join(f"{source.column(c)} as {quote(c)}" for c in dict.fromkeys(columns))


def _between(
    source: Relation, timestamp: str, start: datetime | None, end: datetime | None
) -> list[str]:
    instant = source.instant(timestamp)
    return [
        f"{instant} {comparison} timestamp {literal(_naive(bound).isoformat(' '))}"
        for comparison, bound in ((">=", start), ("<=", end))
        if bound is not None
    ]


@overload
def _aware(instant: datetime) -> datetime: ...
@overload
def _aware(instant: None) -> None: ...
def _aware(instant: datetime | None) -> datetime | None:
    if instant is None:
        return None
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)


def _naive(instant: datetime) -> datetime:
    return _aware(instant).replace(tzinfo=None)
