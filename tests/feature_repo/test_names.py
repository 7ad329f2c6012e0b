"""A name is only a name: of a key, of a feature, of a column that is asked with."""

from datetime import datetime, timedelta

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.errors import BadInput

T0 = datetime(2024, 1, 1)
HOSTILE = [
    *("r", "t", "k0", "f0", "c0", "v0", "e", "known", "entity_rows", "entity_df", "given"),
    *("rn", "n_y", "entity_row_id", "event_expire_timestamp", "file_index", "rowid"),
    *("select", "from", "Event_Timestamp", "EVENT_TIMESTAMP", "user id", 'quo"te', "it's", "a:b"),
    *("ключ", "é", "100%", "{x}", "a.b", "$1", "?", "a;b", "--", "line\nbreak"),
]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _stamps(*seconds: float) -> pa.Array:
    return pa.array([at(s) for s in seconds], pa.timestamp("us"))


@pytest.mark.parametrize("key", HOSTILE)
def test_a_join_key_of_any_name(make_store, make_view, key):
    table = pa.table({key: ["a", "b"], "event_timestamp": _stamps(0, 20), "n": [1, 2]})
    view, entities = make_view("v", table, (key,))
    store = make_store(view, *entities)
    frame = pa.table({key: ["b", "a"], "event_timestamp": _stamps(20, 10)})
    job = store.get_historical_features(frame, ["v:n"])
    assert job.to_arrow().column_names == [key, "event_timestamp", "n"]
    assert job.to_arrow().column("n").to_pylist() == [2, 1]
    with duckdb.connect() as connection:
        connection.register("entity_df", frame)
        assert connection.sql(job.to_sql()).fetchall() == [("b", at(20), 2), ("a", at(10), 1)]
    asked = store.get_historical_features(features=["v:n"], start_date=at(0), end_date=at(30))
    assert asked.to_arrow().to_pydict() == {
        key: ["a", "b"],
        "event_timestamp": [at(0), at(20)],
        "n": [1, 2],
    }


@pytest.mark.parametrize("refs", [HOSTILE, HOSTILE[::-1]])
def test_features_of_any_name_beside_columns_of_any_name(make_store, make_view, refs):
    values = {name: [number] for number, name in enumerate(HOSTILE)}
    table = pa.table({"user_id": ["a"], "event_timestamp": _stamps(0)} | values)
    view, entities = make_view("v", table)
    store = make_store(view, *entities)
    frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": [at(1)]})
    result = store.get_historical_features(frame, [f"v:{name}" for name in refs]).to_arrow()
    assert result.column_names == ["user_id", "event_timestamp", *refs]
    assert result.select(refs).to_pydict() == {name: values[name] for name in refs}
    # The same names as extra columns of the frame, and the features with their view's.
    extra = frame.assign(**dict.fromkeys(HOSTILE, -1))
    job = store.get_historical_features(extra, [f"v:{n}" for n in refs], full_feature_names=True)
    result = job.to_arrow()
    assert result.column_names == [*extra.columns, *(f"v__{name}" for name in refs)]
    assert all(result.column(name).to_pylist() == [-1] for name in HOSTILE)
    assert all(result.column(f"v__{name}").to_pylist() == values[name] for name in HOSTILE)


def test_keys_that_differ_in_case_alone_are_two_keys(make_store, make_view):
    lower = pa.table({"id": ["a"], "event_timestamp": _stamps(0), "n": [1]})
    upper = pa.table({"ID": ["a", "b"], "event_timestamp": _stamps(0, 5), "m": [2, 3]})
    one, entities = make_view("one", lower, ("id",))
    two, others = make_view("two", upper, ("ID",))
    for entity, name in ((entities[0], "little"), (others[0], "big")):
        entity.name = name
    one.entities, two.entities = ["little"], ["big"]
    store = make_store(one, two, *entities, *others)
    refs = ["one:n", "two:m"]
    frame = pa.table({"ID": ["b"], "id": ["a"], "event_timestamp": _stamps(9)})
    assert store.get_historical_features(frame, refs).to_arrow().to_pylist() == [
        {"ID": "b", "id": "a", "event_timestamp": at(9), "n": 1, "m": 3}
    ]
    asked = store.get_historical_features(features=refs, start_date=at(0), end_date=at(9))
    assert asked.to_arrow().to_pylist() == [
        {"id": "a", "ID": None, "event_timestamp": at(0), "n": 1, "m": None},
        {"id": None, "ID": "a", "event_timestamp": at(0), "n": None, "m": 2},
        {"id": None, "ID": "b", "event_timestamp": at(5), "n": None, "m": 3},
    ]


def test_the_latest_version_may_be_said(make_store, make_view):
    table = pa.table({"user_id": ["a"], "event_timestamp": _stamps(0), "n": [1]})
    view, entities = make_view("v", table)
    store = make_store(view, *entities)
    frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": [at(1)]})
    assert store.get_historical_features(frame, ["v@latest:n"]).to_df()["n"].tolist() == [1]


def test_a_feature_called_like_a_key_is_refused_at_apply(publish, tmp_path):
    from feature_repo.store import apply

    row = {"user_id": ["a"], "event_timestamp": _stamps(0)}
    item = {"item_id": ["x"], "event_timestamp": _stamps(0), "n": [1]}
    for number, (name, message) in enumerate(
        (
            ("item_id", "view v: feature item_id has the name of the join key of view items"),
            ("asked_at", "view v: feature asked_at has the name of the time of asking; rename it"),
        )
    ):
        views = {"v": pa.table(row | {name: ["x"]}), "items": pa.table(item)}
        home = publish(tmp_path / str(number), views, {"items": {"entity": "item"}})
        with pytest.raises(BadInput, match=message):
            apply(home)
