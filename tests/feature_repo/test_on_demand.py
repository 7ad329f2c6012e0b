"""Elapsed times from the time of asking: the same offline and online, in whole seconds."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import warm_python
from feature_repo.errors import BadInput
from feature_repo.feast_objects import build
from feature_repo.home import repository_root
from feature_repo.store import apply, open_store
from feature_repo.sync import sync

NOON = datetime(2024, 3, 10, 12)  # no zone: UTC
SERVICE = "user_elapsed"


def instants(*values: datetime | None) -> pa.Array:
    return pa.array(values, pa.timestamp("us"))


def columns(**features: pa.Array) -> pa.Table:
    return pa.table({"user_id": ["a", "b"], "event_timestamp": instants(NOON, NOON), **features})


@pytest.fixture
def home(publish, tmp_path: Path) -> Path:
    second, half = timedelta(seconds=1), timedelta(microseconds=500_000)
    views = {
        "user_recency": columns(
            last_action_at=instants(NOON - 10 * second - half, NOON + second),
            last_item_at=instants(None, datetime(1969, 12, 31, 23, 59, 59, 1)),
            last_action_type=pa.array(["buy", None]),
        ),
        "user_session": columns(
            session_started_at=instants(NOON - timedelta(days=40_000), NOON),
            session_ordinal=pa.array([1, 2]),
        ),
        "user_activity_1h": columns(event_count_1h=pa.array([1, 0])),
    }
    return publish(tmp_path / "home", views)


def both_ways(home: Path, rows: list[tuple[str, datetime]]) -> dict[str, list[Any]]:
    """Ask for (user, time of asking) offline and online, see that they agree, and return it."""
    store = open_store(home)
    service = store.get_feature_service(SERVICE)
    # A column of pandas holds one zone; a list of objects holds any.
    asked = pd.Series([asked for _, asked in rows], dtype=object)
    frame = pd.DataFrame({"user_id": [user for user, _ in rows], "event_timestamp": NOON})
    if all(moment.tzinfo is None for moment in asked):
        asked = asked.astype("datetime64[us]")
    elif len({moment.utcoffset() for moment in asked}) == 1:
        asked = pd.to_datetime(asked)
    else:
        asked = asked.map(lambda moment: moment.isoformat())
    table = store.get_historical_features(frame.assign(asked_at=asked), service).to_arrow()
    entity_rows = [{"user_id": user, "asked_at": asked} for user, asked in rows]
    online = store.get_online_features(service, entity_rows=entity_rows).to_dict()
    names = [name for name in table.column_names if name.startswith("seconds_since_")]
    for name in names:
        assert table.schema.field(name).type == pa.int64()
        assert table[name].to_pylist() == online[name], name
    return {name: online[name] for name in sorted(names)}


def test_whole_seconds_from_each_instant_to_the_time_of_asking(home):
    apply(home)
    sync(home, NOON)
    asked = NOON + timedelta(microseconds=999_999)
    assert both_ways(home, [("a", asked), ("b", asked), ("nobody", asked)]) == {
        # 10.5 s before noon is second 49 of the minute before; a second after noon is yet to come.
        "seconds_since_last_action": [11, 0, None],
        "seconds_since_last_item": [None, int(NOON.replace(tzinfo=UTC).timestamp()) + 1, None],
        "seconds_since_session_started": [40_000 * 86_400, 0, None],
    }
    # A batch in which nothing is known has the same types.
    assert both_ways(home, [("nobody", NOON)]) == {
        "seconds_since_last_action": [None],
        "seconds_since_last_item": [None],
        "seconds_since_session_started": [None],
    }


@pytest.mark.parametrize("hours", [-8, 0, 5.5, 14])
def test_the_time_of_asking_may_be_of_any_zone(hours, home):
    apply(home)
    sync(home, NOON)
    zone = timezone(timedelta(hours=hours))
    asked = (NOON + timedelta(minutes=5)).replace(tzinfo=UTC).astimezone(zone)
    found = both_ways(home, [("a", asked), ("b", asked)])
    assert found["seconds_since_last_action"] == [311, 299]
    # And of a different one in each row.
    mixed = [("a", asked), ("b", asked.astimezone(UTC)), ("a", asked)]
    assert both_ways(home, mixed)["seconds_since_last_action"] == [311, 299, 311]


def test_the_time_of_asking_has_to_be_said(home):
    store = apply(home)
    service = store.get_feature_service(SERVICE)
    frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": [NOON]})
    with pytest.raises(Exception, match="asked_at"):
        store.get_historical_features(frame, service)
    sync(home, NOON)
    with pytest.raises(Exception, match="asked_at"):
        store.get_online_features(service, entity_rows=[{"user_id": "a"}])
    # Who asks for the stored features alone needs to say nothing.
    stored = store.get_feature_service("user_features")
    assert store.get_historical_features(frame, stored).to_df()["session_ordinal"].tolist() == [1]
    online = store.get_online_features(stored, entity_rows=[{"user_id": "a"}]).to_dict()
    assert online["session_ordinal"] == [1]


def test_a_view_without_instants_has_none_and_a_name_is_unique(publish, home, tmp_path):
    kinds = {o.name: type(o).__name__ for o in build(home)}
    assert {n for n, kind in kinds.items() if kind == "OnDemandFeatureView"} == {
        "user_recency_elapsed",
        "user_session_elapsed",
    }
    twice = {
        "one": columns(last_visit_at=instants(NOON, NOON)),
        "two": columns(seconds_since_last_visit=pa.array([1, 2])),
    }
    with pytest.raises(BadInput, match="seconds_since_last_visit is in view one_elapsed and in"):
        build(publish(tmp_path / "twice", twice))


def test_another_process_reads_what_feast_apply_registered(home, tmp_path):
    root = repository_root()
    applied = warm_python.run(
        *("-c", "from feast.cli.cli import cli; cli()", "-c", str(root / "feature_repo"), "apply"),
        env=os.environ | {"SCALESPACE_HOME": str(home)},
        cwd=tmp_path,
    )
    assert applied.returncode == 0, applied.stderr
    assert "experimental" not in applied.stderr
    # The function that the registry holds knows nothing of the module that it came from.
    sync(home, NOON)
    assert both_ways(home, [("a", NOON)])["seconds_since_last_action"] == [11]


def test_names_may_carry_the_view(home):
    store = apply(home)
    frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": [NOON], "asked_at": [NOON]})
    found = store.get_historical_features(
        frame, ["user_recency_elapsed:seconds_since_last_action"], full_feature_names=True
    ).to_df()
    assert found["user_recency_elapsed__seconds_since_last_action"].tolist() == [11]
