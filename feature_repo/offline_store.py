"""A Feast offline store over DuckDB's as-of join on Parquet files.

Feast's own DuckDB store joins by inequality, which is quadratic in the rows of an entity.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Literal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictInt, StrictStr

from feature_repo.errors import BadInput
from feature_repo.point_in_time import ViewJoin, join
from feature_repo.retrieval_job import DuckDBRetrievalJob
from feature_repo.session import quote, session
from feature_repo.sources import Relation, Snapshot


class ScalespaceOfflineStoreConfig(FeastConfigBaseModel):
    """Settings under ``offline_store:``; see `feature_repo.session.session`."""

    type: Literal["feature_repo.offline_store.ScalespaceOfflineStore"] = (
        "feature_repo.offline_store.ScalespaceOfflineStore"
    )
    threads: StrictInt | None = None
    memory_limit: StrictStr | None = None
    temp_directory: StrictStr | None = None


class ScalespaceOfflineStore(OfflineStore):
    """Point-in-time joins and pulls over Parquet files."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **unsupported,
    ) -> RetrievalJob:
        """Return, for each row of `entity_df`, the values in force at its event timestamp.

        The result has the rows that were asked for, in their order, with all their columns, and
        then the features in the order of `feature_refs`. A naive timestamp is UTC. All views are
        read from the snapshot that is published when this method is called.

        Raises
        ------
        BadInput
            If a file or column is missing, a type does not fit, or a feature has the name of a
            column of `entity_df`.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise BadInput(
                f"entity_df is a {type(entity_df).__name__}; this store takes a pandas DataFrame"
            )
        if unsupported:
            raise BadInput(f"this store does not know {', '.join(unsupported)}; leave it out")
        entities = _to_arrow(entity_df)
        timestamp = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        instants = _instants(entity_df[timestamp], timestamp)
        snapshot = Snapshot(config.repo_path)
        joins: list[ViewJoin] = []
        # Where each feature comes from: number of the join, number of the column in it.
        origin: dict[str, tuple[int, int]] = {}
        with _session(config) as connection:
            for view in feature_views:
                names = _requested(view, feature_refs)
                relation = snapshot.relation(connection, view.batch_source, view.name)
                joins.append(_view_join(view, list(names), relation, entities))
                for position, name in enumerate(names):
                    output = f"{_output_prefix(view)}__{name}" if full_feature_names else name
                    if output in origin:
                        other = joins[origin[output][0]].relation.view
                        raise BadInput(
                            f"feature {name} is in view {other} and in view {view.name}; ask with "
                            "full_feature_names=True"
                        )
                    origin[output] = (len(joins) - 1, position)
        outputs = _in_asked_order(feature_views, feature_refs, full_feature_names, origin)
        _check_collisions(entities.column_names, outputs)

        def compute() -> pa.Table:
            with _session(config) as connection:
                found = [join(connection, entities, instants, view) for view in joins]
            result = entities
            for name in outputs:
                view, position = origin[name]
                result = result.append_column(name, found[view].column(position))
            return result

        first, last = pc.min_max(instants).values()
        return DuckDBRetrievalJob(
            compute,
            config.repo_path,
            RetrievalMetadata(
                features=list(feature_refs),
                keys=[name for name in entities.column_names if name != timestamp],
                min_event_timestamp=_aware(first.as_py()) if first.is_valid else None,
                max_event_timestamp=_aware(last.as_py()) if last.is_valid else None,
            ),
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
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
            keys = [quote(key) for key in join_key_columns]
            order = [f"{source.instant(timestamp_field)} desc"]
            if created_timestamp_column:
                order.append(f"{source.instant(created_timestamp_column)} desc nulls last")
            partition = f"partition by {', '.join(keys)} " if keys else ""
            return f"""
                select {_select(columns)} from {source.sql}
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
        return _pull(config, data_source, columns, sql)

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
        """Return all rows with an event timestamp in [`start_date`, `end_date`]."""

        def sql(source: Relation) -> str:
            conditions = _between(source, timestamp_field, start_date, end_date)
            where = f"where {' and '.join(conditions)}" if conditions else ""
            return f"select {_select(columns)} from {source.sql} {where}"

        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        if created_timestamp_column:
            columns.append(created_timestamp_column)
        return _pull(config, data_source, columns, sql)


def _session(config: RepoConfig) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    settings = config.offline_store
    return session(settings.threads, settings.memory_limit, settings.temp_directory)


def _to_arrow(entity_df: pd.DataFrame) -> pa.Table:
    if not entity_df.columns.is_unique:
        repeated = entity_df.columns[entity_df.columns.duplicated()][0]
        raise BadInput(f"the entity frame has column {repeated} twice; rename one")
    try:
        return pa.Table.from_pandas(entity_df, preserve_index=False)
    except pa.ArrowException as error:
        raise BadInput(f"the entity frame has a column of mixed types: {error}") from None


def _instants(column: pd.Series, name: str) -> pa.Array:
    if pd.api.types.is_numeric_dtype(column) and len(column):
        raise BadInput(
            f"entity frame, column {name}: numbers; convert them with pandas.to_datetime"
        )
    try:
        instants = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"entity frame, column {name}: not a timestamp ({reason})") from None
    # Rounded down: a row that asks between two microseconds must not see the later one.
    naive = instants.dt.floor("us").dt.tz_localize(None)
    return pa.array(naive.astype("datetime64[us]"), pa.timestamp("us"))


def _requested(view: FeatureView, feature_refs: list[str]) -> dict[str, None]:
    prefix = f"{view.projection.name_to_use()}:"
    # A dictionary, because a feature asked for twice is one column.
    names = dict.fromkeys(r.removeprefix(prefix) for r in feature_refs if r.startswith(prefix))
    known = {feature.name for feature in view.features}
    for name in names:
        if name not in known:
            raise BadInput(f"view {view.name} has no feature {name}; run `feast apply`")
    return names


def _output_prefix(view: FeatureView) -> str:
    return view.projection.name_alias or view.name


def _in_asked_order(
    feature_views: list[FeatureView],
    feature_refs: list[str],
    full_feature_names: bool,
    origin: dict[str, tuple[int, int]],
) -> list[str]:
    prefixes = {view.projection.name_to_use(): _output_prefix(view) for view in feature_views}
    outputs: dict[str, None] = {}
    for ref in feature_refs:
        view, _, name = ref.rpartition(":")
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


def _view_join(
    view: FeatureView, names: list[str], relation: Relation, entities: pa.Table
) -> ViewJoin:
    source = view.batch_source
    assert source is not None  # its relation would have been refused
    in_file = {new: old for old, new in source.field_mapping.items()}
    join_keys = []
    for field in view.entity_columns:
        if field.name == DUMMY_ENTITY_ID:
            continue
        column = view.projection.join_key_map.get(field.name, field.name)
        if column not in entities.column_names:
            raise BadInput(f"view {view.name}: the entity frame has no column {column}; add it")
        join_keys.append((column, in_file.get(field.name, field.name)))
    created = source.created_timestamp_column
    result = ViewJoin(
        relation=relation,
        join_keys=tuple(join_keys),
        timestamp=in_file.get(source.timestamp_field, source.timestamp_field),
        created=in_file.get(created, created) or None,
        ttl=view.ttl or timedelta(0),
        columns=tuple(in_file.get(name, name) for name in names),
    )
    result.check(entities)
    return result


def _pull(
    config: RepoConfig,
    data_source: DataSource,
    columns: list[str],
    sql: Callable[[Relation], str],
) -> RetrievalJob:
    def compute() -> pa.Table:
        with _session(config) as connection:
            snapshot = Snapshot(config.repo_path)
            relation = snapshot.relation(connection, data_source, data_source.name)
            relation.require(columns)
            return connection.sql(sql(relation)).to_arrow_table()

    return DuckDBRetrievalJob(compute, config.repo_path)


def _select(columns: list[str]) -> str:
    return ", ".join(quote(column) for column in dict.fromkeys(columns))


def _between(
    source: Relation, timestamp: str, start: datetime | None, end: datetime | None
) -> list[str]:
    instant = source.instant(timestamp)
    return [
        f"{instant} {comparison} timestamp '{_aware(bound).replace(tzinfo=None).isoformat(' ')}'"
        for comparison, bound in ((">=", start), ("<=", end))
        if bound is not None
    ]


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)
