"""Entities, feature views and feature services, generated from what dbt published."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.configuration import reads_with_spark
from feature_repo.errors import BadInput
from feature_repo.home import view_path
from feature_repo.manifest import COMPUTED_AT, EVENT_TIMESTAMP, View, load_views
from feature_repo.on_demand import ASKED_AT, elapsed_name, elapsed_views, instants_of
from feature_repo.value_types import feast_type

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView
    from feast.data_source import DataSource


def build(home: Path) -> list["Entity | FeatureView | OnDemandFeatureView | FeatureService"]:
    """Return the Feast objects of the build in `home`.

    One entity per join key; one feature view per published model; an on-demand view of elapsed
    times for each that holds instants; the feature services ``<entity>_features``,
    ``<entity>_scale_<scale>`` and ``family_<family>``, each of one entity, so that a frame of users
    can ask for it whole, and ``<entity>_elapsed``, which needs the time of asking as well. A view
    has no TTL: its latest row at or before an instant is the value at that instant, however old.

    Raises
    ------
    BadInput
        If nothing was built, if a published file is not as its view says, if a column has a type
        that Feast cannot carry, or if a feature has the name of another one or of a key.
    """
    from feast import Entity

    from feature_repo.offline_store import check_views

    views = load_views(home)
    _check_unique_features(views)
    entities = {
        view.entity: Entity(name=view.entity, join_keys=[view.join_key], value_type=_key_type(view))
        for view in views
    }
    feature_views = {view.name: _feature_view(view, entities[view.entity], home) for view in views}
    check_views(feature_views.values())
    elapsed = elapsed_views(views, feature_views)
    services = _services(views, feature_views, elapsed)
    return [*entities.values(), *feature_views.values(), *elapsed.values(), *services]


def _check_unique_features(views: Iterable[View]) -> None:
    views = list(views)
    keys = {view.join_key: f"the join key of view {view.name}" for view in views}
    # A request has these columns, so its answer could not have a feature of the same name.
    taken = {ASKED_AT: "the time of asking"} | keys
    owner: dict[str, str] = {}
    for view in views:
        stored = [(column.name, view.name) for column in view.features]
        elapsed = [(elapsed_name(name), f"{view.name}_elapsed") for name in instants_of(view)]
        for feature, name in stored + elapsed:
            if feature in taken:
                raise BadInput(
                    f"view {name}: feature {feature} has the name of {taken[feature]}; rename it"
                )
            if feature in owner:
                raise BadInput(
                    f"feature {feature} is in view {owner[feature]} and in view "
                    f"{name}; rename one of them"
                )
            owner[feature] = name


def _key_type(view: View):
    column = next(c for c in view.columns if c.name == view.join_key)
    return feast_type(column.data_type, view.name, column.name).to_value_type()


def _feature_view(view: View, entity: "Entity", home: Path) -> "FeatureView":
    from feast import FeatureView, Field

    return FeatureView(
        name=view.name,
        description=view.description,
        entities=[entity],
        ttl=timedelta(0),
        schema=[
            Field(
                name=column.name,
                dtype=feast_type(column.data_type, view.name, column.name),
                description=column.description,
            )
            for column in view.columns
            if column.name not in (EVENT_TIMESTAMP, COMPUTED_AT)
        ],
        source=_source(view, home),
        tags={
            name: value
            for name, value in (("family", view.family), ("scale", view.scale))
            if value is not None
        },
    )


def _source(view: View, home: Path) -> "DataSource":
    path = str(view_path(home, view.name))
    if reads_with_spark():
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        return SparkSource(
            name=view.name,
            path=path,
            file_format="parquet",
            timestamp_field=EVENT_TIMESTAMP,
            created_timestamp_column=view.created_column or "",
        )
    from feast import FileSource
    from feast.data_format import ParquetFormat

    return FileSource(
        name=view.name,
        path=path,
        file_format=ParquetFormat(),
        timestamp_field=EVENT_TIMESTAMP,
        created_timestamp_column=view.created_column or "",
    )


def _services(
    views: Iterable[View],
    feature_views: dict[str, "FeatureView"],
    elapsed: dict[str, "OnDemandFeatureView"],
) -> list["FeatureService"]:
    from feast import FeatureService

    members: dict[str, list] = defaultdict(list)
    for view in views:
        stored = feature_views[view.name]
        members[f"{view.entity}_features"].append(stored)
        if view.family is not None:
            members[f"family_{view.family}"].append(stored)
        if view.scale is not None:
            members[f"{view.entity}_scale_{view.scale}"].append(stored)
        if view.name in elapsed:
            members[f"{view.entity}_elapsed"].append(elapsed[view.name])
    return [FeatureService(name=name, features=members[name]) for name in sorted(members)]
