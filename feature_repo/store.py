"""The feature store of a run, opened and registered from Python."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo import advisories
from feature_repo.configuration import REPOSITORY, registry_is_ours
from feature_repo.errors import BadInput
from feature_repo.home import HOME_VARIABLE, registry_path

if TYPE_CHECKING:
    from feast import FeatureStore


def open_store(home: Path) -> "FeatureStore":
    """Return the feature store of the run in `home`.

    ``SCALESPACE_HOME`` is set to `home` for this process and those that it starts; a store that
    was opened for another home before goes on reading that one.

    Raises
    ------
    BadInput
        If nothing was registered there yet.
    """
    if registry_is_ours() and not registry_path(home).exists():
        raise BadInput(f"nothing is registered in {home}: run `feast -c feature_repo apply` first")
    return _open(home)


def apply(home: Path) -> "FeatureStore":
    """Register what dbt published in `home`, as ``feast apply`` does, and return the store.

    Views and services that the build no longer has are removed.

    Raises
    ------
    BadInput
        As `feature_repo.feast_objects.build`.
    """
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView, Project
    from feast.feature_view import DUMMY_ENTITY
    from feast.repo_contents import RepoContents
    from feast.repo_operations import extract_objects_for_apply_delete

    from feature_repo.feast_objects import build

    objects = build(home)
    store = _open(home)
    views = [o for o in objects if isinstance(o, FeatureView)]
    contents = RepoContents(
        projects=[Project(name=store.project)],
        data_sources=[view.batch_source for view in views if view.batch_source],
        feature_views=views,
        on_demand_feature_views=[o for o in objects if isinstance(o, OnDemandFeatureView)],
        stream_feature_views=[],
        label_views=[],
        entities=[DUMMY_ENTITY, *(o for o in objects if isinstance(o, Entity))],
        feature_services=[o for o in objects if isinstance(o, FeatureService)],
        permissions=[],
    )
    to_apply, to_delete, _, _ = extract_objects_for_apply_delete(
        store.project, store.registry, contents
    )
    store.apply(to_apply, objects_to_delete=to_delete, partial=False)
    return store


def _open(home: Path) -> "FeatureStore":
    from feast import FeatureStore

    advisories.silence()
    os.environ[HOME_VARIABLE] = str(home.absolute())
    store = FeatureStore(repo_path=str(REPOSITORY))
    # Feast makes these when they are first needed, by then another home may be set.
    store.registry, store.config.online_store  # noqa: B018
    return store
