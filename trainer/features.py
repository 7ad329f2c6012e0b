"""Features through Feast: which exist, which enter a model, and their values at instants or now."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.config import FeatureConfig
from trainer.feature_rows import FeatureRows, Layout
from trainer.inputs import KINDS
from trainer.instants import Instants, parse_duration

if TYPE_CHECKING:
    from feast import FeatureStore

_ARROW = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "BIGINT[]": pa.list_(pa.int64()),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
}
_ROW = "scalespace_row"  # keeps the order of the rows asked for; an as-of join keeps none

# Models read these by name: the current state, the time since the last event, and what the user
# did after each state.
ANCHORS = (C.LAST_ACTION, C.LAST_ACTION_AT, C.SESSION_IS_OPEN, C.TRANSITION_COUNTS)

# The last events as an encoder reads them.
SEQUENCE = (
    *(C.SEQUENCE_ACTIONS, C.SEQUENCE_ITEMS, C.SEQUENCE_CATEGORIES, C.SEQUENCE_LOCATIONS),
    *(C.SEQUENCE_GAPS, C.SEQUENCE_DURATIONS, C.SEQUENCE_HOURS, C.SEQUENCE_WEEKDAYS),
)


@dataclass(frozen=True)
class Feature:
    """One feature of the store: where it stands and what type was published."""

    view: str
    name: str
    type: str
    family: str | None = None
    scale: str | None = None

    @property
    def reference(self) -> str:
        """What Feast calls it: ``view:feature``."""
        return f"{self.view}:{self.name}"


def scale_order(scale: str | None) -> tuple[int, str]:
    """A key that sorts scales by their length; ``all`` after every other."""
    try:
        seconds = int(parse_duration(scale, "scale") // np.timedelta64(1, "s"))
    except BadInput:
        return sys.maxsize, str(scale)
    return seconds, str(scale)


def published_features(home: Path) -> tuple[Feature, ...]:
    """Every feature of a user that the build in ``home`` published, in a fixed order."""
    from feature_repo.manifest import load_views

    return tuple(
        Feature(view.name, column.name, column.data_type, view.family, view.scale)
        for view in load_views(home)
        if view.entity == "user"
        for column in view.features
    )


def choose_features(published: Sequence[Feature], config: FeatureConfig) -> tuple[Feature, ...]:
    """The features that enter a model: those that a pattern includes and none excludes.

    The raw counts of transitions stay out, because the current state's row of them is a feature
    of its own, and the sequence is read by the encoder. The anchors always enter; of the lifetime's
    counts, which are one of them, models read the current state's row
    (:mod:`trainer.user_rows`).
    """
    defaults = FeatureConfig()
    for pattern in (*config.include, *config.exclude):
        # A default may speak of a family that this project left out; what a user wrote may not.
        if pattern in (*defaults.include, *defaults.exclude):
            continue
        if not any(_matches(feature, pattern) for feature in published):
            known = sorted({feature.family or feature.view for feature in published})
            raise BadInput(
                f"features: {pattern!r} matches no feature of the store; "
                f"families: {', '.join(known)}; scales are written @7d"
            )
    return tuple(
        feature
        for feature in published
        if feature.name in ANCHORS
        or (
            feature.type in KINDS
            and feature.view != C.SEQUENCE_VIEW
            and not feature.name.startswith("transition_counts")
            and any(_matches(feature, pattern) for pattern in config.include)
            and not any(_matches(feature, pattern) for pattern in config.exclude)
        )
    )


def anchors(published: Sequence[Feature]) -> tuple[Feature, ...]:
    """What a model needs that reads no other feature."""
    return named(published, *ANCHORS)


def require_anchors(published: Sequence[Feature]) -> None:
    """Refuse a store without the features that models read by name."""
    _require(published, *ANCHORS, *SEQUENCE)


def _require(published: Sequence[Feature], *needed: str) -> None:
    names = {feature.name for feature in published}
    for name in needed:
        if name not in names:
            raise BadInput(
                f"the store has no feature {name}, which every model needs; run trainer build"
            )


def named(published: Sequence[Feature], *names: str) -> tuple[Feature, ...]:
    """The features with these names."""
    return tuple(feature for feature in published if feature.name in names)


def sequence_features(published: Sequence[Feature]) -> tuple[Feature, ...]:
    """The arrays of the last events that an encoder reads; refused where one is not there."""
    _require(published, *SEQUENCE)
    return named(published, *SEQUENCE)


def open_checked_store(
    home: Path, needed: Sequence[Feature], run: str | None = None
) -> FeatureStore:
    """Open the store and check that it has the features that will be asked for.

    Parameters
    ----------
    home
        Home of the run.
    needed
        Features with the types that the caller expects.
    run
        Name of the fitted run that expects them, for the message.

    Raises
    ------
    BadInput
        When nothing was applied, or a feature is gone or of another type.
    """
    from feature_repo.store import open_store

    store = open_store(home)
    stored = stored_types(store)
    if not stored:
        raise BadInput("the feature store has no views yet; run trainer apply")
    lost = [
        feature.reference
        if feature.reference not in stored
        else f"{feature.reference} (was {feature.type}, is {stored[feature.reference]})"
        for feature in needed
        if stored.get(feature.reference) != feature.type
    ]
    if lost:
        shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        if run is None:
            raise BadInput(
                f"the feature store lacks what dbt published: {shown}; run trainer apply"
            )
        raise BadInput(
            f"run {run} was fitted on features that the store no longer has: {shown}; "
            "run trainer fit again"
        )
    return store


def stored_types(store: FeatureStore) -> dict[str, str]:
    """The published type of every feature that the registry knows, by reference."""
    from feast import types

    published = {
        types.Int64: "BIGINT",
        types.Float64: "DOUBLE",
        types.Bool: "BOOLEAN",
        types.String: "VARCHAR",
        types.UnixTimestamp: "TIMESTAMP",
    }

    def name(kind: Any) -> str:
        if isinstance(kind, types.Array):
            return f"{name(kind.base_type)}[]"
        return published.get(kind, str(kind))

    return {
        f"{view.name}:{field.name}": name(field.dtype)
        for view in store.list_feature_views()
        for field in view.features
    }


def features_at(
    store: FeatureStore, users: NDArray, instants: Instants, wanted: Sequence[Feature]
) -> pa.Table:
    """Values in force at instants, from the offline store, in the order of the rows asked for.

    Parameters
    ----------
    store
        The feature store.
    users, instants
        # [rows]
    wanted
        The features.

    Returns
    -------
    table
        # [rows], one column a feature; null where a user had no history
    """
    import pandas as pd

    entities = pd.DataFrame(
        {C.USER: users, C.INSTANT: instants.astype("datetime64[us]"), _ROW: np.arange(len(users))}
    )
    job = store.get_historical_features(
        entity_df=entities, features=[feature.reference for feature in wanted]
    )
    table = job.to_arrow()
    rows = table[_ROW].to_numpy()
    if not np.array_equal(rows, np.arange(len(users))):
        table = table.take(pa.array(np.argsort(rows, kind="stable")))
    return typed({feature.name: table[feature.name] for feature in wanted}, wanted)


def features_now(store: FeatureStore, users: Sequence[str], wanted: Sequence[Feature]) -> pa.Table:
    """Values in the online store; # [users], null for a user that it does not know.

    All views are read as of one instant. Where the store is ours they are read in one pass, a
    column at a time; Feast's own call makes a protocol buffer of every cell.
    """
    from feature_repo.online_store import is_packed, read_features

    if is_packed(store.config):
        found = read_features(store.config, users, Layout(tuple(wanted)).kinds)
        return _table({f.name: found[f.view][f.name] for f in wanted}, wanted)
    answer = store.get_online_features(
        features=[feature.reference for feature in wanted],
        entity_rows=[{C.USER: user} for user in users],
    ).to_dict()
    return typed({feature.name: answer[feature.name] for feature in wanted}, wanted)


def feature_rows_now(
    store: FeatureStore, users: Sequence[str], layout: Layout
) -> pa.Table | FeatureRows:
    """The values of :func:`features_now`, for the few users of a request: packed where they can be.

    A table where the store is not ours, knows none of the users, or has rows of an older build.
    """
    from feature_repo.online_store import is_packed, packed_rows, read_stored

    if is_packed(store.config):
        packed = {}
        for view, stored in read_stored(store.config, users, layout.kinds).items():
            found = packed_rows(stored, users)
            if found is None:
                break
            packed[view] = found
        else:
            if layout.heads(tuple([schema for schema, _ in packed.values()])) is not None:
                return FeatureRows(layout, packed, len(users))
    return features_now(store, users, layout.wanted)


def _table(columns: dict[str, pa.Array], wanted: Sequence[Feature]) -> pa.Table:
    """A table of packed columns; the store keeps an instant as seconds."""
    arrays = [
        columns[f.name].view(pa.timestamp("s")).cast(_ARROW[f.type])
        if f.type == "TIMESTAMP"
        else columns[f.name]
        for f in wanted
    ]
    return pa.Table.from_arrays(arrays, names=[f.name for f in wanted])


def typed(values: dict[str, Any], wanted: Sequence[Feature]) -> pa.Table:
    """Columns of the published types, whatever the store made of them on the way."""
    columns = {}
    for feature in wanted:
        kind = _ARROW[feature.type]
        column = values[feature.name]
        if isinstance(column, pa.ChunkedArray | pa.Array):
            columns[feature.name] = column if column.type == kind else column.cast(kind)
        else:
            columns[feature.name] = pa.array(column, kind)
    return pa.table(columns)


def _matches(feature: Feature, pattern: str) -> bool:
    if pattern.startswith("@"):
        return feature.scale is not None and fnmatch.fnmatchcase(feature.scale, pattern[1:])
    names = (feature.view, feature.name, feature.reference, feature.family or feature.view)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)
