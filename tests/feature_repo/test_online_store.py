"""The packed online store behind Feast's interface.

Case  Test
N3    test_the_newest_stays_in_any_order, test_an_old_window_again_changes_nothing
N5    test_readers_and_a_writer_in_two_processes
N7    test_arrays_come_back_or_are_refused
N8    test_a_column_of_nulls_loads_as_null
N13   test_null_empty_nan_and_zero_are_four_answers
N11, N12 belong to the server, the others to test_sync.
"""

import asyncio
import math
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Int64List, StringList, Value
from hypothesis import example, given, settings
from hypothesis import strategies as st

import warm_python
from feature_repo.errors import BadInput
from feature_repo.online_database import OnlineDatabase
from feature_repo.online_store import (
    ScalespaceOnlineStore,
    database,
    read_features,
    stream_rows,
)
from feature_repo.packing import RowSchema

T0 = datetime(2024, 1, 1)
SCHEMA = RowSchema((("n", "INT64"),))


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def key(user: str) -> EntityKey:
    return EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])


@pytest.fixture
def make_online(tmp_path: Path):
    """Return a function that makes a Feast store of views, given by name and features."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import String
    from feast.value_type import ValueType

    def make(views: dict[str, dict], keys=("user_id",), **options) -> FeatureStore:
        store = FeatureStore(
            config=RepoConfig(
                project=options.get("project", "test"),
                registry=str(tmp_path / f"{options.get('project', 'test')}.db"),
                online_store={
                    "type": "feature_repo.online_store.ScalespaceOnlineStore",
                    "path": "the store.db",
                },
                offline_store={"type": "feature_repo.offline_store.ScalespaceOfflineStore"},
                repo_path=tmp_path,
            )
        )
        entities = [
            Entity(name=name.removesuffix("_id"), join_keys=[name], value_type=ValueType.STRING)
            for name in keys
        ]
        # Only the online side is wanted: the file has no more than what apply looks for.
        path = tmp_path / "source.parquet"
        pq.write_table(pa.table({"t": pa.array([T0], pa.timestamp("us"))}), path)
        declared = [
            FeatureView(
                name=name,
                entities=entities,
                schema=[
                    *(Field(name=key, dtype=String) for key in keys),
                    *(Field(name=n, dtype=t) for n, t in features.items()),
                ],
                source=FileSource(name=name, path=str(path), timestamp_field="t"),
                ttl=timedelta(0),
            )
            for name, features in views.items()
        ]
        store.apply([*entities, *declared])
        return store

    return make


def write(store, view: str, rows: list[tuple]) -> None:
    """Write (user or key, features, event, created)."""
    data = [
        (key(who) if isinstance(who, str) else who, values, event, created)
        for who, values, event, created in rows
    ]
    store._get_provider().online_write_batch(store.config, store.get_feature_view(view), data, None)


def stream(store, views: dict[str, dict[str, int]], instant: datetime) -> None:
    """Write values of the feature ``n`` as a stream does, by view and user."""
    tables = [
        (
            store.get_feature_view(view),
            pa.table({"user_id": list(values), "n": pa.array(values.values(), pa.int64())}),
        )
        for view, values in views.items()
    ]
    stream_rows(store.config, tables, instant)


def read(store, features: list[str], *users: str) -> list[list]:
    answer = store.get_online_features(features, [{"user_id": user} for user in users]).to_dict()
    return [answer[feature.partition(":")[2]] for feature in features]


def integer(value: int) -> dict[str, Value]:
    return {"n": Value(int64_val=value)}


def test_what_feast_writes_feast_reads(make_online):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64, "s": t.String}, "w": {"x": t.Float64}})
    write(store, "v", [("a", integer(1) | {"s": Value(string_val="é\0")}, at(1), None)])
    write(store, "w", [("a", {"x": Value(double_val=0.5)}, at(2), at(9))])
    features = ["v:n", "v:s", "w:x"]
    assert read(store, features, "a", "b", "a") == [
        [1, None, 1],
        ["é\0", None, "é\0"],
        [0.5, None, 0.5],
    ]
    answer = store.get_online_features(["v:n"], [{"user_id": "a"}, {"user_id": "b"}])
    stamps = answer.to_dict(include_event_timestamps=True)["n__ts"]
    assert stamps == [int(at(1).replace(tzinfo=UTC).timestamp()), 0]
    assert read(store, ["v:n"], "b") == [[None]]


def test_async_calls_give_the_same(make_online):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    online, view = ScalespaceOnlineStore(), store.get_feature_view("v")
    rows = [(key("a"), integer(3), at(0), None)]
    asyncio.run(online.online_write_batch_async(store.config, view, rows, None))
    (found,) = asyncio.run(online.online_read_async(store.config, view, [key("a")]))
    assert found == (at(0).replace(tzinfo=UTC), integer(3))
    answer = store.get_online_features_async(["v:n"], [{"user_id": "a"}])
    assert asyncio.run(answer).to_dict()["n"] == [3]


def test_the_newest_stays_in_any_order(make_online):
    """N3: rows t3, t2, t1; created breaks ties; no creation time is the oldest."""
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    rows = [("a", integer(3), at(3), None), ("a", integer(2), at(2), None)]
    write(store, "v", [*rows, ("a", integer(1), at(1), None)])
    assert read(store, ["v:n"], "a") == [[3]]
    write(store, "v", [("a", integer(30), at(3), at(50))])
    write(store, "v", [("a", integer(31), at(3), at(49)), ("a", integer(32), at(3), None)])
    assert read(store, ["v:n"], "a") == [[30]]
    # Of equals the one written last.
    write(store, "v", [("a", integer(33), at(3), at(50)), ("a", integer(34), at(3), at(50))])
    assert read(store, ["v:n"], "a") == [[34]]


def test_an_old_window_again_changes_nothing(make_online):
    """N3: a batch of an earlier window, written again later."""
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    old = [(f"u{n}", integer(n), at(n), None) for n in range(50)]
    new = [(f"u{n}", integer(-n), at(n + 100), None) for n in range(0, 50, 2)]
    for batch in (old, new, old):
        write(store, "v", batch)
    expected = [n if n % 2 else -n for n in range(50)]
    assert read(store, ["v:n"], *(f"u{n}" for n in range(50))) == [expected]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.none() | st.integers(0, 3)),
        min_size=1,
        max_size=25,
        unique=True,
    ),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    seed=st.integers(0, 2**20),
)
def test_the_newest_stays_whatever_the_order(tmp_path_factory, rows, cuts, seed):
    """N3 as a property: any order, in any batches, streamed or not, by a naive maximum."""
    database = OnlineDatabase(tmp_path_factory.mktemp("any") / "store.db")
    shuffled = random.Random(seed).sample(rows, len(rows))
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for start, stop in zip(edges, edges[1:], strict=False):
        batch = []
        for row in shuffled[start:stop]:
            who, event, created = row
            packed = SCHEMA.pack([pa.array([rows.index(row)])], "v")[0]
            if event == created:  # as a stream writes: in force since it was made
                database.stream([("p/v", SCHEMA, [(who, packed)])], event)
            else:
                batch.append((*row, packed))
        database.push("p/v", SCHEMA, batch)
    for who in {row[0] for row in rows}:
        newest = max(
            (row for row in rows if row[0] == who),
            key=lambda row: (row[1], -1 if row[2] is None else row[2]),
        )
        packed = database.read("p/v", [who]).rows[who][3]
        assert SCHEMA.unpack([packed], ["n"])["n"].to_pylist() == [rows.index(newest)]
    database.close()


def test_null_empty_nan_and_zero_are_four_answers(make_online):
    """N13, online."""
    from feast import types as t

    store = make_online({"v": {"x": t.Float64, "s": t.String, "l": t.Array(t.String)}})
    answers = {
        "null": {"x": Value(), "s": Value(), "l": Value()},
        "empty": {
            "x": Value(double_val=0.0),
            "s": Value(string_val=""),
            "l": Value(string_list_val=StringList(val=[])),
        },
        "nan": {
            "x": Value(double_val=math.nan),
            "s": Value(string_val="nan"),
            "l": Value(string_list_val=StringList(val=[""])),
        },
    }
    write(store, "v", [(who, values, at(0), None) for who, values in answers.items()])
    found = read(store, ["v:x", "v:s", "v:l"], *answers)
    assert repr(found) == "[[None, 0.0, nan], [None, '', 'nan'], [None, [], ['']]]"


def test_arrays_come_back_or_are_refused(make_online):
    """N7: a null array and an empty one are told apart; an array of another type is refused."""
    from feast import types as t

    store = make_online({"v": {"l": t.Array(t.Int64)}})
    rows = {"a": Value(), "b": Value(int64_list_val=Int64List(val=[])), "c": None}
    write(store, "v", [(w, {} if v is None else {"l": v}, at(0), None) for w, v in rows.items()])
    assert read(store, ["v:l"], "a", "b", "c") == [[None, [], None]]
    with pytest.raises(BadInput, match="view v, feature l: a value is no INT64_LIST"):
        write(store, "v", [("a", {"l": Value(string_val="x")}, at(1), None)])
    with pytest.raises(BadInput, match="view v, feature l: a value is no INT64_LIST"):
        wrong = Value(float_list_val=FloatList(val=[0.5]))
        write(store, "v", [("a", {"l": wrong}, at(1), None)])
    assert read(store, ["v:l"], "a") == [[None]]


def test_a_column_of_nulls_loads_as_null(make_online):
    """N8, of each type, those among them that only Feast knows."""
    from feast import types as t

    kinds = [t.Int64, t.Float64, t.Bool, t.String, t.UnixTimestamp, t.Int32, t.Bytes]
    kinds += [t.Array(t.Int64), t.Array(t.Float64), t.Array(t.String), t.Array(t.Bool)]
    features = {f"f{n}": kind for n, kind in enumerate(kinds)}
    store = make_online({"v": features})
    write(store, "v", [(who, dict.fromkeys(features, Value()), at(0), None) for who in "ab"])
    assert read(store, [f"v:{name}" for name in features], "a", "b") == [[None, None]] * len(kinds)


def test_types_that_only_feast_knows_are_kept(make_online):
    from feast import types as t

    store = make_online({"v": {"i": t.Int32, "b": t.Bytes, "f": t.Array(t.Float32)}})
    values = {
        "i": Value(int32_val=-7),
        "b": Value(bytes_val=b"\0x"),
        "f": Value(float_list_val=FloatList(val=[0.5])),
    }
    write(store, "v", [("a", values, at(0), None)])
    assert read(store, ["v:i", "v:b", "v:f"], "a") == [[-7], [b"\0x"], [[0.5]]]


def test_composite_keys_are_never_mixed(make_online):
    from feast import types as t

    def pair(a: str, b: str) -> EntityKey:
        values = [Value(string_val=a), Value(string_val=b)]
        return EntityKey(join_keys=["a_id", "b_id"], entity_values=values)

    store = make_online({"v": {"n": t.Int64}}, keys=("a_id", "b_id"))
    pairs = [("1", "11"), ("11", "1"), ("1:1", ""), ("", "1:1"), ("é", "e")]
    write(store, "v", [(pair(*p), integer(n), at(0), None) for n, p in enumerate(pairs)])
    rows = [{"a_id": a, "b_id": b} for a, b in pairs] + [{"b_id": "11", "a_id": "1"}]
    assert store.get_online_features(["v:n"], rows).to_dict()["n"] == [0, 1, 2, 3, 4, 0]


def test_a_row_of_another_schema_is_never_misread(make_online):
    """Features added, removed, moved and of another type: what a row does not have is null."""
    from feast import types as t

    store = make_online({"v": {"a": t.Int64, "b": t.Float64, "c": t.String}})
    old = {"a": Value(int64_val=1), "b": Value(double_val=0.5), "c": Value(string_val="x")}
    write(store, "v", [("u", old, at(0), None)])
    store = make_online({"v": {"c": t.String, "a": t.Float64, "d": t.Int64}})
    features = ["v:c", "v:a", "v:d"]
    assert read(store, features, "u") == [["x"], [None], [None]]
    new = {"a": Value(double_val=2.0), "c": Value(string_val="y"), "d": Value(int64_val=4)}
    write(store, "v", [("w", new, at(0), None)])
    # Rows of both versions, and of neither, in one request.
    expected = [["y", "x", None], [2.0, None, None], [4, None, None]]
    assert read(store, features, "w", "u", "nobody") == expected
    kinds = [("c", "STRING"), ("a", "DOUBLE"), ("d", "INT64")]
    packed = read_features(store.config, ["w", "u", "nobody"], {"v": kinds})["v"]
    assert [packed[name].to_pylist() for name, _ in kinds] == expected
    write(store, "v", [("u", new, at(1), None)])
    assert read(store, features, "u") == [["y"], [2.0], [4]]


def test_columns_of_all_views_in_one_pass(make_online):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}, "w": {"x": t.Float64, "l": t.Array(t.Int64)}})
    write(store, "v", [(f"u{n}", integer(n), at(0), None) for n in range(2500)])
    row = {"x": Value(double_val=1.5), "l": Value(int64_list_val=Int64List(val=[1, 2]))}
    write(store, "w", [("u7", row, at(0), None)])
    users = [f"u{n}" for n in range(2500, -1, -1)]  # over the keys of one query, and one unknown
    wanted = {"v": [("n", "INT64")], "w": [("x", "DOUBLE"), ("l", "INT64_LIST")]}
    found = read_features(store.config, users, wanted)
    assert found["v"]["n"].to_pylist() == [None, *range(2499, -1, -1)]
    place = users.index("u7")
    assert found["w"]["x"].to_pylist()[place] == 1.5
    assert found["w"]["l"].to_pylist()[place] == [1, 2]
    assert found["w"]["x"].null_count == 2500
    twice = read_features(store.config, ["u1", "u1"], wanted)
    assert twice["v"]["n"].to_pylist() == [1, 1]
    assert twice["w"]["l"].to_pylist() == [None, None]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("users", [3, 40])  # read by one query, and by one a view
def test_views_are_read_together_as_each_alone(make_online, users, streamed):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}, "w": {"n": t.Int64}})
    write(store, "v", [(f"u{n}", integer(n), at(n), None) for n in range(0, users, 2)])
    write(store, "w", [(f"u{n}", integer(-n), at(n), None) for n in range(1, users, 2)])
    if streamed:  # one row that was there, and none of the other view
        stream(store, {"v": {"u0": 7}}, at(500))
        assert read(store, ["v:n"], "u0", "u2") == [[7, 2]]
        assert read(store, ["w:n"], "u0", "u1") == [[None, -1]]
    opened = database(store.config)
    entities = [f"{store.config.project}/{view}" for view in ("w", "v")]
    asked = [f"u{n}" for n in range(users)]
    found = opened.read_views(entities, asked)
    assert [sorted(each.rows) for each in found] == [sorted(asked[1::2]), sorted(asked[::2])]
    for view, each in zip(entities, found, strict=True):
        alone = opened.read(view, asked)
        assert _told(each.rows) == _told(alone.rows)
        assert each.schemas == alone.schemas
    # A view that has no table yet has no rows, and takes none of the others'.
    absent, again = opened.read_views([f"{store.config.project}/none", entities[1]], asked)
    assert (absent.rows, absent.schemas) == ({}, {})
    assert sorted(again.rows) == sorted(asked[::2])


def _told(rows: dict[str, tuple]) -> dict[str, tuple]:
    return {user: row[:4] for user, row in rows.items()}


def _value(database: OnlineDatabase, view: str, who: str) -> int | None:
    row = database.read(view, [who]).rows.get(who)
    return None if row is None else SCHEMA.unpack([row[3]], ["n"])["n"].to_pylist()[0]


@settings(max_examples=60, deadline=None)
@given(
    writes=st.lists(
        st.tuples(
            st.dictionaries(
                st.tuples(st.sampled_from("vwx"), st.sampled_from("ab")), st.integers(0, 9)
            ),
            st.integers(0, 9),
        ),
        max_size=6,
        unique_by=lambda write: write[1],
    ),
    clocks=st.dictionaries(st.sampled_from("vwx"), st.integers(-1, 9)),
    until=st.integers(0, 9),
    dropped=st.none() | st.sampled_from("vwx"),
)
# The time went back behind the newest row: an older one of another bundle was replaced by it.
@example(
    writes=[({("v", "a"): 1}, 1), ({("v", "a"): 0, ("w", "a"): 0}, 3)],
    clocks={"v": 0},
    until=2,
    dropped=None,
)
def test_views_leave_what_was_streamed_each_by_itself(
    tmp_path_factory, writes, clocks, until, dropped
):
    """By a naive list of all that was written: batches of any views, and a clock for each view."""
    database = OnlineDatabase(tmp_path_factory.mktemp("any") / "store.db")
    for view in "vwx":
        database.create_view(view)
    newest: dict[tuple[str, str], tuple[int, int]] = {}  # instant and value
    for rows, instant in writes:
        by_view: dict[str, list[tuple[str, bytes]]] = {}
        for (view, who), value in rows.items():
            packed = SCHEMA.pack([pa.array([value])], view)[0]
            by_view.setdefault(view, []).append((who, packed))
            newest[view, who] = max(newest.get((view, who), (-1, 0)), (instant, value))
        database.stream([(view, SCHEMA, some) for view, some in by_view.items()], instant)
    for (view, who), (_, value) in newest.items():
        assert _value(database, view, who) == value
    if dropped:
        database.drop_view(dropped)
        database.create_view(dropped)
        newest = {key: row for key, row in newest.items() if key[0] != dropped}
    stays = {
        (view, who): value
        for (view, who), (instant, value) in newest.items()
        if view not in clocks or clocks[view] < instant <= until
    }
    with database.writing():
        database.streamed.remove_known(clocks, until)
    for key in newest:
        assert _value(database, *key) == stays.get(key), key
    for view in "vwx":
        named = {who for some in database.entities(view) for who in some}
        assert named == {who for who in "ab" if _value(database, view, who) is not None}
    database.close()


def test_a_transaction_that_was_taken_back_leaves_no_numbers(tmp_path):
    """What it gave numbers to is forgotten with it: another writer gives them to something else."""
    database, other = OnlineDatabase(tmp_path / "store.db"), OnlineDatabase(tmp_path / "store.db")
    for view in "vwx":
        database.create_view(view)

    def rows(view: str, value: int) -> tuple[str, RowSchema, list[tuple[str, bytes]]]:
        return view, SCHEMA, [("a", SCHEMA.pack([pa.array([value])], view)[0])]

    with pytest.raises(RuntimeError), database.writing():
        database.stream([rows("v", 1), rows("w", 2)], 1)
        assert [_value(database, view, "a") for view in "vwx"] == [1, 2, None]
        raise RuntimeError
    other.stream([rows("x", 3)], 2)
    assert [_value(database, view, "a") for view in "vwx"] == [None, None, 3]
    database.close()
    other.close()


def test_a_number_of_a_schema_is_given_once(tmp_path):
    """Another process remembers what it meant."""
    database = OnlineDatabase(tmp_path / "store.db")
    database.create_view("v")
    first = database.schema_id("v", SCHEMA)
    database.drop_view("v")
    assert database.schema_id("v", RowSchema((("m", "INT64"),))) > first


def test_a_streamed_row_and_a_pushed_one_take_turns_by_their_instants(make_online):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}, "w": {"n": t.Int64}})
    write(store, "v", [("a", integer(1), at(10), None), ("b", integer(2), at(30), None)])
    stream(store, {"v": {"a": 11, "b": 12, "c": 13}, "w": {"a": 14}}, at(20))
    # That of b is older than what was pushed; c and the view w had no row.
    assert read(store, ["v:n"], "a", "b", "c") == [[11, 2, 13]]
    assert read(store, ["w:n"], "a", "b", "c") == [[14, None, None]]
    write(store, "v", [("a", integer(3), at(15), None), ("c", integer(4), at(20), at(21))])
    assert read(store, ["v:n"], "a", "b", "c") == [[11, 2, 4]]
    stream(store, {"v": {"a": 21, "b": 22}}, at(40))
    stream(store, {"v": {"a": 31, "c": 33}}, at(35))  # older than the one before, but for c
    assert read(store, ["v:n"], "a", "b", "c") == [[21, 22, 33]]
    opened = database(store.config)
    assert sorted(*opened.entities("test/v")) == ["a", "b", "c"]
    # Another view keeps its rows.
    opened.drop_view("test/v")
    opened.create_view("test/v")
    assert read(store, ["v:n"], "a", "c") == [[None, None]]
    assert read(store, ["w:n"], "a") == [[14]]


def test_streamed_rows_come_into_the_file_when_it_is_tidied(make_online, tmp_path):
    """Whoever waits for them does not wait for that."""
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    opened = database(store.config)
    opened.checkpoint()

    def in_the_file() -> int:
        alone = tmp_path / "alone.db"
        shutil.copy(opened.path, alone)
        with closing(sqlite3.connect(alone)) as connection:
            return connection.execute("select count(*) from streamed").fetchone()[0]

    values = {f"u{n}": n for n in range(20_000)}  # more than SQLite keeps by itself
    stream(store, {"v": values}, at(1))
    assert in_the_file() == 0
    assert read(store, ["v:n"], "u7") == [[7]]
    opened.checkpoint("passive")
    assert in_the_file() == len(values)


def test_more_streamed_rows_than_a_statement_takes(make_online):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}, "w": {"n": t.Int64}})
    values = {f"u{n:04d}": n for n in range(1_500)}
    stream(store, {"v": values, "w": {user: -n for user, n in values.items()}}, at(1))
    stream(store, {"v": {user: n + 1 for user, n in values.items() if n % 3}}, at(2))
    assert read(store, ["v:n"], *values) == [[n + 1 if n % 3 else n for n in range(1_500)]]
    assert read(store, ["w:n"], *values) == [[-n for n in range(1_500)]]


def test_views_of_two_projects_share_a_file(make_online):
    from feast import types as t

    stores = [make_online({"v": {"n": t.Int64}}, project=name) for name in ("one", "two")]
    for number, store in enumerate(stores):
        write(store, "v", [("a", integer(number), at(0), None)])
    assert [read(store, ["v:n"], "a") for store in stores] == [[[0]], [[1]]]


def test_a_view_that_goes_takes_its_rows_and_teardown_the_file(make_online, tmp_path):
    from feast import types as t
    from feast.infra.online_stores.helpers import get_online_store_from_config

    store = make_online({"v": {"n": t.Int64}, "w": {"m": t.Int64}})
    write(store, "v", [("a", integer(1), at(0), None)])
    write(store, "w", [("a", {"m": Value(int64_val=2)}, at(0), None)])
    online = get_online_store_from_config(store.config.online_store)
    assert isinstance(online, ScalespaceOnlineStore)
    view = store.get_feature_view("v")
    online.update(store.config, [view], [store.get_feature_view("w")], [], [], True)
    database = OnlineDatabase.at(tmp_path / "the store.db")
    assert database.views() == ["test/w"]
    assert read(store, ["v:n", "w:m"], "a") == [[None], [2]]
    assert online.plan(store.config, store.registry.proto()) == []
    online.teardown(store.config, [view], [])
    assert not list(tmp_path.glob("the store.db*"))
    # A store that is not there has no rows, and is made again by whoever writes.
    assert read(store, ["w:m"], "a") == [[None]]
    write(store, "w", [("a", {"m": Value(int64_val=3)}, at(0), None)])
    assert read(store, ["w:m"], "a") == [[3]]


DAMAGE = {
    "text": lambda path: path.write_bytes(b"not a database, but a text of some length" * 99),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "another database": lambda path: _other(path),
    "hole": lambda path: _hole(path),
}


def _other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("create table theirs (a)")
    connection.close()


def _hole(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_says_what_to_do(make_online, tmp_path, damage):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    write(store, "v", [("a", integer(1), at(0), None)])
    path = tmp_path / "the store.db"
    OnlineDatabase.at(path).close()
    DAMAGE[damage](path)
    for call in (
        lambda: read(store, ["v:n"], "a"),
        lambda: read_features(store.config, ["a"], {"v": [("n", "INT64")]}),
        lambda: write(store, "v", [("a", integer(1), at(0), None)]),
    ):
        with pytest.raises(BadInput, match="the store.db is .*: run `trainer sync`"):
            call()


def test_no_space_is_one_line_and_what_was_written_stays(make_online, tmp_path):
    from feast import types as t

    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        store = make_online({"v": {"s": t.String}})
        store.config.online_store.path = str(small / "store.db")
        write(store, "v", [("a", {"s": Value(string_val="first")}, at(0), None)])
        long = Value(string_val="x" * 50_000)
        rows = [(f"u{n}", {"s": long}, at(1), None) for n in range(50)]
        with pytest.raises(BadInput, match="store.db cannot be written .*: make room on its disk"):
            write(store, "v", rows)
        assert read(store, ["v:s"], "a", "u0") == [["first", None]]
        write(store, "v", [("b", {"s": Value(string_val="after")}, at(0), None)])
        assert read(store, ["v:s"], "b") == [["after"]]
        OnlineDatabase.at(small / "store.db").close()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_file_that_is_replaced_is_opened_anew(make_online, tmp_path):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    write(store, "v", [("a", integer(1), at(0), None)])
    assert read(store, ["v:n"], "a") == [[1]]
    database = OnlineDatabase.at(tmp_path / "the store.db")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(read(store, ["v:n"], "a")))
    assert database.set_aside() == tmp_path / "the store.db.damaged"
    # Another thread, which has no connection yet, makes the new one.
    thread.start()
    thread.join()
    assert seen == [[[None]]] == [read(store, ["v:n"], "a")]


WRITER = """
import sys, time
from pathlib import Path
import pyarrow as pa
from feature_repo.online_database import OnlineDatabase
from feature_repo.packing import RowSchema
database, turn = OnlineDatabase(Path(sys.argv[1])), 0
schemas = {v: RowSchema(((n, "INT64"),)) for v, n in (("test/v", "n"), ("test/w", "m"))}
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end or turn < 50:
    turn += 1
    with database.writing():
        for view, schema in schemas.items():
            (packed,) = schema.pack([pa.array([turn])], view)
            database.push(view, schema, [(f"u{i}", turn, None, packed) for i in range(200)])
print(turn)
"""


def _read_while_written(make_online, path: Path, seconds: float) -> int:
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}, "w": {"m": t.Int64}})
    errors: list[BaseException] = []
    reads = [0] * 8
    stop = threading.Event()
    wanted = {"v": [("n", "INT64")], "w": [("m", "INT64")]}

    def look(number: int) -> None:
        last, users = -1, ["u1", "u199"]
        while not stop.is_set():
            try:
                if number % 2:
                    row = store.get_online_features(["v:n", "w:m"], [{"user_id": u} for u in users])
                    seen = {*row.to_dict()["n"], *row.to_dict()["m"]}
                else:
                    found = read_features(store.config, users, wanted)
                    seen = {*found["v"]["n"].to_pylist(), *found["w"]["m"].to_pylist()}
                (turn,) = seen  # of one transaction, both views and both users
                assert turn is None or turn >= last
                last = -1 if turn is None else turn
                reads[number] += 1
                time.sleep(0.001)  # two cores: the writer shall come to its turn
            except BaseException as error:  # noqa: BLE001
                errors.append(error)
                return

    threads = [threading.Thread(target=look, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    writer = warm_python.run("-c", WRITER, str(path), str(seconds))
    stop.set()
    for thread in threads:
        thread.join()
    assert writer.returncode == 0, writer.stderr
    assert errors == []
    assert min(reads) > 0
    return int(writer.stdout)


def test_readers_and_a_writer_in_two_processes(make_online, tmp_path):
    """N5: eight reading threads and a writing process: no error, no half of a transaction."""
    turns = _read_while_written(make_online, tmp_path / "the store.db", 3.0)
    assert turns >= 50


@pytest.mark.slow
def test_readers_and_a_writer_for_a_minute(make_online, tmp_path):
    """N5 as it is written: 60 s."""
    turns = _read_while_written(make_online, tmp_path / "the store.db", 60.0)
    assert turns >= 50


def test_a_child_process_has_connections_of_its_own(make_online, tmp_path):
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}})
    write(store, "v", [("a", integer(1), at(0), None)])
    assert read(store, ["v:n"], "a") == [[1]]
    child = os.fork()
    if not child:
        try:
            found = read_features(store.config, ["a"], {"v": [("n", "INT64")]})
            os._exit(0 if found["v"]["n"].to_pylist() == [1] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    write(store, "v", [("a", integer(2), at(1), None)])
    assert read(store, ["v:n"], "a") == [[2]]


def test_a_writer_that_is_killed_leaves_all_or_nothing(make_online, tmp_path):
    store_path = tmp_path / "the store.db"
    from feast import types as t

    store = make_online({"v": {"n": t.Int64}, "w": {"m": t.Int64}})
    for delay in (0.05, 0.15, 0.3):
        writer = warm_python.WarmPython("-c", WRITER, str(store_path), "60")
        before = read(store, ["v:n"], "u0")[0][0]
        while read(store, ["v:n"], "u0")[0][0] == before:
            time.sleep(0.01)
        time.sleep(delay)
        writer.kill()
        writer.wait()
        (turn,) = {*read(store, ["v:n"], "u0", "u199")[0], *read(store, ["w:m"], "u0", "u199")[0]}
        assert turn >= 1
