"""Which row of an instant is the newest, and what was known when: against a brute-force oracle."""

import random
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

T0 = datetime(2024, 1, 1)
US = timedelta(microseconds=1)
TTL = timedelta(seconds=5)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _source(rng: random.Random, rows: int, ties: bool) -> pa.Table:
    users = [rng.choice(["a", "b", None]) for _ in range(rows)]
    instants = [rng.choice([at(rng.randrange(20)), None]) for _ in range(rows)]
    # Few created times, so that rows agree in all three and only their place tells them apart.
    created = [rng.choice([at(rng.randrange(0, 30, 3)), None]) for _ in range(rows)]
    if not ties:
        created = [at(i) for i in rng.sample(range(rows * 2), rows)]
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "event_timestamp": pa.array(instants, pa.timestamp("us")),
            "made": pa.array(created, pa.timestamp("us")),
            "n": pa.array([rng.choice([None, i, i]) for i in range(rows)], pa.int64()),
        }
    )


def _answer(source: pa.Table, user, instant, ttl, as_known: bool):
    """Look at every row, as the definition says, with nothing learned from the store."""
    best, rank = None, None
    for position, row in enumerate(source.to_pylist()):
        if user is None or row["user_id"] != user or row["event_timestamp"] is None:
            continue
        if instant is None or row["event_timestamp"] > instant:
            continue
        if as_known and (row["made"] is None or row["made"] > instant):
            continue
        this = (row["event_timestamp"], row["made"] or datetime.min, position)
        if rank is None or this > rank:
            best, rank = row, this
    if best is None or (ttl and best["event_timestamp"] < instant - ttl):
        return None
    return best["n"]


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("as_known", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_cell_equals_the_oracle(make_store, make_view, monkeypatch, seed, as_known, few):
    monkeypatch.setattr("feature_repo.point_in_time.FEW_ROWS", few)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    rng = random.Random(seed)
    ttl = rng.choice([timedelta(0), TTL])
    source = _source(rng, rng.choice([0, 1, 60, 60]), ties=bool(seed % 2))
    view, entities = make_view("v", source, created_timestamp_column="made", ttl=ttl)
    edges = [timedelta(0), US, -US, TTL, TTL + US, TTL - US]
    asked = [
        (
            rng.choice(["a", "b", "nobody", None]),
            rng.choice([None, *[at(rng.randrange(-2, 25)) + rng.choice(edges) for _ in range(9)]]),
        )
        for _ in range(150)
    ]
    asked += asked[:40]
    rows = pa.table(
        {
            "user_id": pa.array([user for user, _ in asked], pa.string()),
            "event_timestamp": pa.array([instant for _, instant in asked], pa.timestamp("us")),
        }
    )
    store = make_store(view, *entities)
    job = store.get_historical_features(rows, ["v:n"], filter_by_created_timestamp=as_known)
    expected = [_answer(source, *row, ttl, as_known) for row in asked]
    assert job.to_arrow().column("n").to_pylist() == expected
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("entity_df", rows)
        assert connection.sql(job.to_sql()).to_arrow_table().column("n").to_pylist() == expected


def test_a_backfill_does_not_change_what_was_known(make_store, make_view, tmp_path):
    before = pa.table(
        {
            "user_id": ["a", "a"],
            "event_timestamp": pa.array([at(0), at(10)], pa.timestamp("us")),
            "made": pa.array([at(1), at(11)], pa.timestamp("us")),
            "n": [1, 2],
        }
    )
    late = before.slice(0, 2).set_column(3, "n", pa.array([-1, -2]))
    late = late.set_column(2, "made", pa.array([at(100), at(100)], pa.timestamp("us")))
    view, entities = make_view("v", before, created_timestamp_column="made")
    store = make_store(view, *entities)
    rows = pa.table(
        {
            "user_id": ["a"] * 5,
            "event_timestamp": pa.array(
                [at(0), at(1), at(10.5), at(11), at(99.999999)], pa.timestamp("us")
            ),
        }
    )

    def known() -> list:
        job = store.get_historical_features(rows, ["v:n"], filter_by_created_timestamp=True)
        return job.to_arrow().column("n").to_pylist()

    assert known() == [None, 1, 1, 2, 2]
    pq.write_table(pa.concat_tables([late, before]), tmp_path / "v.parquet")
    assert known() == [None, 1, 1, 2, 2]
    now = store.get_historical_features(rows, ["v:n"]).to_arrow().column("n").to_pylist()
    assert now == [-1, -1, -2, -2, -2]


@pytest.mark.parametrize("as_known", [False, True])
@pytest.mark.parametrize("copies", [1, 2])
def test_one_entity_with_all_rows_is_not_quadratic(make_store, make_view, as_known, copies):
    """100,000 by 100,000 rows of one key: 10 billion pairs, which a plan by pairs never ends."""
    rows = 100_000
    stamps = pa.array([at(second) for second in range(rows)], pa.timestamp("us"))
    history = {"user_id": ["a"] * rows, "event_timestamp": stamps, "made": stamps}
    order = random.Random(0).sample(range(rows), rows)
    table = pa.table(history | {"n": range(rows)}).take(pa.array(order))
    view, entities = make_view(
        "v", pa.concat_tables([table] * copies), created_timestamp_column="made"
    )
    asked = pa.table({"user_id": ["a"] * rows, "event_timestamp": stamps})
    job = make_store(view, *entities).get_historical_features(
        asked, ["v:n"], filter_by_created_timestamp=as_known
    )
    assert job.to_arrow().column("n").to_pylist() == list(range(rows))
