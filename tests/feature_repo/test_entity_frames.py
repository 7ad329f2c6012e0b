"""Entity rows as a DataFrame, a Table, SQL, or a range of time: one answer."""

from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.errors import BadInput

T0 = datetime(2024, 1, 1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _view(make_view, name="v", users=("a", "a", "b"), seconds=(0, 10, 20), values=(1, 2, None)):
    table = pa.table(
        {
            "user_id": list(users),
            "event_timestamp": pa.array([at(s) for s in seconds], pa.timestamp("us")),
            f"n_{name}": pa.array(values, pa.int64()),
        }
    )
    return make_view(name, table)


ROWS = pa.table(
    {
        "label": pa.array(["x", None, "z", "x"]),
        "user_id": ["b", "a", "nobody", "a"],
        "event_timestamp": pa.array([at(30), at(10), at(10), at(9)], pa.timestamp("us")),
        "Label": pa.array([1, None, 3, 4], pa.int8()),
    }
)
EXPECTED = [None, 2, None, 1]


def test_a_frame_a_table_and_sql_give_the_same_rows(make_store, make_view, tmp_path):
    import pyarrow.parquet as pq

    view, entities = _view(make_view)
    store = make_store(view, *entities)
    path = tmp_path / "asked.parquet"
    pq.write_table(ROWS.drop_columns("Label"), path)
    query = f"select * from '{path}' where label is distinct from 'w'; -- all of them"
    query = query.replace(";", "") + "\n;"
    given = {"frame": ROWS.to_pandas(), "table": ROWS, "sql": query}
    for kind, asked in given.items():
        job = store.get_historical_features(asked, ["v:n_v"])
        result = job.to_arrow()
        assert result.column("n_v").to_pylist() == EXPECTED, kind
        assert result.column("label").to_pylist() == ["x", None, "z", "x"], kind
        assert result.column_names[:3] == ["label", "user_id", "event_timestamp"]
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.register("entity_df", asked if kind != "sql" else ROWS)
            again = connection.sql(job.to_sql()).to_arrow_table()
        assert again.column_names[-1] == "n_v"
        assert again.column(again.num_columns - 1).to_pylist() == EXPECTED, kind
    table = store.get_historical_features(ROWS, ["v:n_v"]).to_arrow()
    assert table.drop_columns("n_v").equals(ROWS)


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("ns"), pa.timestamp("ms"), pa.timestamp("us", "Asia/Kolkata"), pa.string()],
)
def test_a_table_may_have_any_kind_of_timestamp(make_store, make_view, kind):
    view, entities = _view(make_view)
    rows = ROWS.set_column(2, "event_timestamp", ROWS.column(2).cast(kind))
    result = make_store(view, *entities).get_historical_features(rows, ["v:n_v"]).to_arrow()
    assert result.column("n_v").to_pylist() == EXPECTED
    assert result.column("event_timestamp").type == kind


def test_without_rows_a_range_of_time_asks_for_all_keys_in_it(make_store, make_view):
    one, entities = _view(make_view, "one", ("a", "a", "b", None), (0, 10, 20, 5), (1, 2, 3, 4))
    two, _ = _view(make_view, "two", ("a", "c", "b"), (10, 15, 40), (5, 6, 7))
    store = make_store(one, two, *entities)
    job = store.get_historical_features(
        features=["one:n_one", "two:n_two"], start_date=at(10), end_date=at(20).replace(tzinfo=UTC)
    )
    assert job.to_arrow().to_pylist() == [
        {"user_id": "a", "event_timestamp": at(10), "n_one": 2, "n_two": 5},
        {"user_id": "c", "event_timestamp": at(15), "n_one": None, "n_two": 6},
        {"user_id": "b", "event_timestamp": at(20), "n_one": 3, "n_two": None},
    ]
    assert job.metadata.min_event_timestamp == at(10).replace(tzinfo=UTC)


def test_sql_names_files_of_the_repository_and_no_variable(make_store, make_view, tmp_path):
    import pyarrow.parquet as pq

    view, entities = _view(make_view)
    store = make_store(view, *entities)
    pq.write_table(ROWS.drop_columns("Label"), tmp_path / "asked.parquet")
    result = store.get_historical_features("from 'asked.parquet'", ["v:n_v"]).to_arrow()
    assert result.column("n_v").to_pylist() == EXPECTED
    for variable in ("ROWS", "entities", "query"):
        with pytest.raises(BadInput, match=f"the SQL does not run .*{variable}"):
            store.get_historical_features(f"select * from {variable}", ["v:n_v"])


def test_what_is_no_entity_frame_is_refused_in_one_line(make_store, make_view):
    view, entities = _view(make_view)
    store = make_store(view, *entities)
    frame = ROWS.to_pandas()
    zone = pd.Timestamp("2024-01-01", tz="UTC")
    mixed = frame.assign(event_timestamp=[zone, pd.Timestamp(T0), zone, zone])
    texts = frame.assign(event_timestamp=["2024-01-01", "2024-01-01T00:00:00Z"] * 2)
    for asked, message in (
        (frame.drop(columns="event_timestamp"), "no timestamp column event_timestamp, and none"),
        (
            frame.rename(columns={"event_timestamp": "t1"}).assign(t2=pd.Timestamp(T0)),
            r"it has 2 others \(t1, t2\)",
        ),
        (mixed, "column event_timestamp: some timestamps have a time zone and some have none"),
        (texts, "column event_timestamp: some timestamps have a time zone and some have none"),
        ("select 1 from nowhere", "the SQL does not run .*nowhere"),
        ("select 'a' as user_id, '2024' as event_timestamp", "cast it to TIMESTAMP"),
        ("select timestamp '2024-01-01' as event_timestamp", "frame has no column user_id"),
        (frame.rename(columns={"label": 7}), "a column named 7"),
    ):
        with pytest.raises(BadInput, match=message) as error:
            store.get_historical_features(asked, ["v:n_v"])
        assert "\n" not in str(error.value)


def test_the_only_timestamp_may_have_any_name(make_store, make_view):
    view, entities = _view(make_view)
    rows = ROWS.rename_columns(["label", "user_id", "asked at", "Label"])
    job = make_store(view, *entities).get_historical_features(rows, ["v:n_v"])
    assert job.to_arrow().column("n_v").to_pylist() == EXPECTED
    assert job.metadata.keys == ["label", "user_id", "Label"]
