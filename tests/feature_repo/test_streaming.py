"""Results as streams: in the asked order, under a memory limit, and never whole."""

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import BadInput

T0 = datetime(2024, 1, 1)
ROWS = 400_000
KEYS = 1000


@pytest.fixture(scope="module")
def asked() -> pa.Table:
    """Rows in no order of key or time; the answer is worked out from them below."""
    rng = np.random.default_rng(0)
    seconds = rng.permutation(ROWS)
    return pa.table(
        {
            "user_id": seconds % KEYS,
            "event_timestamp": pa.array(np.datetime64(T0, "us") + seconds.astype("m8[s]")),
            "label": pa.array([f"é{n % 7}" for n in range(ROWS)]).dictionary_encode(),
        }
    )


def _features(name: str) -> pa.Table:
    # User k has a value at each second that ends in k, which is that second's thousands.
    seconds = np.arange(ROWS)
    return pa.table(
        {
            "user_id": seconds % KEYS,
            "event_timestamp": pa.array(np.datetime64(T0, "us") + seconds.astype("m8[s]")),
            name: seconds // KEYS,
            f"{name}_text": pa.array(np.char.add("t", (seconds // KEYS).astype(str))),
        }
    )


def _check(result: pa.Table, asked: pa.Table) -> None:
    seconds = asked.column("event_timestamp").to_numpy() - np.datetime64(T0, "us")
    expected = seconds.astype("m8[s]").astype(int) // KEYS
    for name in asked.column_names:
        given, got = asked.column(name), result.column(name)
        if name == "label":  # through SQL a dictionary is a text
            given, got = given.cast(pa.string()), got.cast(pa.string())
        assert got.equals(given)
    for name in ("one", "two"):
        assert np.array_equal(result.column(name).to_numpy(), expected)
        texts = pa.array(np.char.add("t", expected.astype(str)))
        assert result.column(f"{name}_text").combine_chunks().equals(texts)


@pytest.mark.parametrize("cells_in_memory", [0, 2**25])
@pytest.mark.parametrize("kind", ["table", "sql"])
def test_a_stream_is_in_the_asked_order_and_under_its_limit(
    make_store, make_view, monkeypatch, tmp_path, asked, kind, cells_in_memory
):
    monkeypatch.setattr("feature_repo.queries.CELLS_IN_MEMORY", cells_in_memory)
    views = [make_view(name, _features(name)) for name in ("one", "two")]
    spill = tmp_path / "spill"
    spill.mkdir()
    # The tables that are read side by side are larger than this.
    store = make_store(
        *(view for view, _ in views),
        *views[0][1],
        memory_limit="90MB",
        threads=1,
        temp_directory=str(spill),
    )
    rows: pa.Table | str = asked
    if kind == "sql":
        pq.write_table(asked, tmp_path / "asked.parquet")
        rows = f"from '{tmp_path / 'asked.parquet'}'"
    refs = [f"{name}:{name}{suffix}" for name in ("one", "two") for suffix in ("", "_text")]
    job = store.get_historical_features(rows, refs)
    reader = job.to_arrow_batches(50_000)
    first = reader.read_next_batch()
    assert first.num_rows <= 50_000
    assert bool(list(spill.glob("*/scratch.duckdb"))) == (cells_in_memory == 0)
    reader.close()
    job.to_parquet(tmp_path / "out" / "result.parquet")
    _check(pq.read_table(tmp_path / "out" / "result.parquet"), asked)
    assert pq.read_metadata(tmp_path / "out" / "result.parquet").num_row_groups > 1
    # What was spilled is gone, with the session.
    del reader
    assert list(spill.iterdir()) == []


def test_too_little_memory_is_one_line_and_leaves_no_file(make_store, make_view, tmp_path, asked):
    view, entities = make_view("one", _features("one"))
    store = make_store(view, *entities, memory_limit="2MB")
    job = store.get_historical_features(asked, ["one:one"])
    with pytest.raises(BadInput, match="not enough memory .*raise offline_store.memory_limit"):
        job.to_parquet(tmp_path / "out" / "result.parquet")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental")
def test_on_demand_features_come_in_the_stream(make_store, make_view, asked):
    from feast import Field
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Int64

    view, entities = make_view("one", _features("one"))

    @on_demand_feature_view(sources=[view], schema=[Field(name="double", dtype=Int64)])
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"double": inputs["one"] * 2})

    store = make_store(view, doubled, *entities)
    for rows in (asked.slice(0, 5000), asked.slice(0, 0)):
        job = store.get_historical_features(rows, ["one:one", "doubled:double"])
        result = job.to_arrow_batches(700).read_all()
        assert result.num_rows == rows.num_rows
        expected = [2 * n for n in result.column("one").to_pylist()]
        assert result.column("double").to_pylist() == expected
