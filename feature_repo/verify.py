"""Compare the online store with the offline store at an instant, cell by cell and bit for bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from feature_repo.store import open_store
from feature_repo.sync import known_until, online_now

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView, Field

_ENTITIES_A_BATCH = 50_000
_SEED = 0


@dataclass(frozen=True)
class Mismatch:
    """A cell whose two values differ, or a row that is in one of the stores alone."""

    view: str
    entity: str
    feature: str
    online: Any
    offline: Any

    def __str__(self) -> str:
        return (
            f"view {self.view}, entity {self.entity}, feature {self.feature}: "
            f"online {self.online!r}, offline {self.offline!r}"
        )


@dataclass(frozen=True)
class VerifyReport:
    """What a comparison found.

    Attributes
    ----------
    instant : datetime
        In UTC.
    views, entities, cells : int
        Compared; of `entities` one per view and entity.
    ahead : int
        Rows left out, because they were pushed after all that the published build knows of.
    mismatches : int
        Cells that differ.
    first : Mismatch or None
        The first of them.
    """

    instant: datetime
    views: int
    entities: int
    cells: int
    ahead: int
    mismatches: int
    first: Mismatch | None


def verify(home: Path, at: datetime | None = None, sample: int | None = None) -> VerifyReport:
    """Compare online(entity) with offline(entity, `at`) for every view and feature.

    Parameters
    ----------
    home : Path
        Home of the run.
    at : datetime, optional
        A naive one is UTC. Default the instant for which the online store is loaded.
    sample : int, optional
        Entities of each view to compare, drawn by a fixed seed; default all. An entity that the
        online store alone knows of is one as well.

    Raises
    ------
    BadInput
        If nothing is registered or loaded, or a view cannot be read.

    Notes
    -----
    The offline values come from the store's own point-in-time join, and not from what a sync read.
    A number is equal if its bits are; null, 0, NaN and empty are all different. An instant is
    compared in whole seconds, which is all that Feast's type holds online.
    """
    from feature_repo.in_force import PublishedView
    from feature_repo.online_store import microseconds
    from feature_repo.session import SessionSettings, session
    from feature_repo.sources import Snapshot

    instant = at or online_now(home)
    instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    # What a stream wrote after the sync is newer than the build as well.
    until = microseconds(datetime.now(UTC) if at is None else instant)
    store = open_store(home)
    views = [view for view in store.list_feature_views() if view.online]
    entities = cells = ahead = mismatches = 0
    first: Mismatch | None = None
    with session(SessionSettings()) as connection:
        snapshot = Snapshot(store.config.repo_path)
        published = [PublishedView(connection, snapshot, view) for view in views]
        known = known_until(home, (view.clock() for view in published))
        for view in published:
            if len(view.join_keys) != 1:
                raise BadInput(f"view {view.view.name}: only views of one join key are compared")
            newer = set()
            if view.has_created:
                newer = _ahead(store, home, view.view, known, until)
            ahead += len(newer)
            asked = _entities(store, home, view, newer, sample)
            for start in range(0, len(asked), _ENTITIES_A_BATCH):
                some = asked[start : start + _ENTITIES_A_BATCH]
                compared, found = _compare(store, view.view, view.join_keys[0], some, instant)
                entities, cells = entities + len(some), cells + compared
                mismatches += found[0]
                first = first or found[1]
    return VerifyReport(instant, len(views), entities, cells, ahead, mismatches, first)


def _compare(
    store: "FeatureStore",
    view: "FeatureView",
    key: "Field",
    entities: Sequence[str],
    instant: datetime,
) -> tuple[int, tuple[int, Mismatch | None]]:
    from feature_repo.cells import to_kind

    names = [feature.name for feature in view.features]
    keys: list[Any] = list(entities)
    if key.dtype.to_value_type().name == "INT64":
        keys = [int(entity) for entity in entities]
    stamps = pa.array([instant.replace(tzinfo=None)] * len(keys), pa.timestamp("us"))
    frame = pa.table({key.name: keys, "event_timestamp": stamps})
    references = [f"{view.name}:{name}" for name in names]
    offline = store.get_historical_features(frame, references, full_feature_names=True).to_arrow()
    online = _online(store, view, key, keys)
    mismatches, first = 0, None
    for feature in view.features:
        column = offline.column(f"{view.name}__{feature.name}").combine_chunks()
        expected = to_kind(column, feature, view.name)
        differs = different(online[feature.name], expected)
        mismatches += int(differs.sum())
        if first is None and differs.any():
            row = int(differs.argmax())
            values = online[feature.name][row].as_py(), expected[row].as_py()
            first = Mismatch(view.name, entities[row], feature.name, *values)
    return len(keys) * len(names), (mismatches, first)


def _online(
    store: "FeatureStore", view: "FeatureView", key: "Field", keys: list[Any]
) -> dict[str, pa.Array]:
    """Return the online values, from our store as a prediction reads them, else through Feast."""
    from feature_repo.cells import from_values, kind_of
    from feature_repo.online_store import is_packed, read_features

    kinds = [(feature.name, kind_of(feature)) for feature in view.features]
    if is_packed(store.config):
        return read_features(store.config, [str(k) for k in keys], {view.name: kinds})[view.name]
    answer = store.get_online_features(
        [f"{view.name}:{name}" for name, _ in kinds],
        {key.name: keys},  # type: ignore[arg-type]
        full_feature_names=True,
    )
    names = list(answer.proto.metadata.feature_names.val)
    columns = {}
    for name, kind in kinds:
        vector = answer.proto.results[names.index(f"{view.name}__{name}")]
        columns[name] = from_values(list(vector.values), kind, view.name, name)
    return columns


def _ahead(
    store: "FeatureStore", home: Path, view: "FeatureView", clock: int, until: int
) -> set[str]:
    from feature_repo.online_store import view_id
    from feature_repo.sync_targets import target_of

    ledger = target_of(store.config, home).ledger
    batches = ledger.ahead(view_id(store.config, view), clock, until)
    return {entity for batch in batches for entity in batch}


def _entities(
    store: "FeatureStore", home: Path, view: Any, without: set[str], sample: int | None
) -> list[str]:
    """Return the entities to compare: all that one of the stores knows, or some of them."""
    from feature_repo.online_store import view_id
    from feature_repo.sync_targets import target_of

    ledger = target_of(store.config, home).ledger

    def known() -> Iterator[str]:
        for batch in view.entities():
            yield from batch
        for batch in ledger.entities(view_id(store.config, view.view)):
            yield from batch

    found = sorted(set(known()) - without)
    if sample is None or sample >= len(found):
        return found
    chosen = np.random.default_rng(_SEED).choice(len(found), sample, replace=False)
    return [found[place] for place in sorted(chosen.tolist())]


def different(left: pa.Array, right: pa.Array) -> NDArray[np.bool_]:
    """Return where two columns of one type differ, in being null or in any bit; # [rows]."""
    assert left.type == right.type and len(left) == len(right)
    null, other = (a.is_null().to_numpy(zero_copy_only=False) for a in (left, right))
    differs = null != other
    both = ~null & ~other
    if pa.types.is_list(left.type):
        lengths, others = (
            a.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for a in (left, right)
        )
        differs |= both & (lengths != others)
        same = np.flatnonzero(both & ~differs)
        elements = different(left.take(same).flatten(), right.take(same).flatten())
        rows = np.repeat(same, lengths[same])
        differs[rows[elements]] = True
        return differs
    if pa.types.is_string(left.type) or pa.types.is_binary(left.type):
        unequal = pc.not_equal(left, right).fill_null(False)
        return differs | unequal.to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(left.type):
        bits = [a.fill_null(False).to_numpy(zero_copy_only=False) for a in (left, right)]
    else:
        bits = [a.fill_null(0).to_numpy(zero_copy_only=False).view(np.int64) for a in (left, right)]
    return differs | (both & (bits[0] != bits[1]))
