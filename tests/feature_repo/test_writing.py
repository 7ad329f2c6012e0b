"""What Feast writes through the offline store: batches, logs and saved datasets."""

from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import BadInput

T0 = datetime(2024, 1, 1)


def _table(values: list, **extra) -> pa.Table:
    stamps = pa.array([T0] * len(values), pa.timestamp("us"))
    return pa.table({"user_id": ["a"] * len(values), "event_timestamp": stamps, "n": values})


def test_rows_are_added_to_a_file_with_its_types(make_store, make_view, tmp_path):
    view, entities = make_view("v", _table([1, 2]))
    store = make_store(view, *entities)
    frame = pd.DataFrame({"n": [3.0], "event_timestamp": [T0], "user_id": ["b"]})
    store.write_to_offline_store("v", frame)
    written = pq.read_table(tmp_path / "v.parquet")
    assert written.schema.field("n").type == pa.int64()
    assert written.column("n").to_pylist() == [1, 2, 3]
    assert [path.name for path in tmp_path.glob("v.parquet*")] == ["v.parquet"]
    with pytest.raises(BadInput, match="source v: the rows do not fit .*v.parquet"):
        store.write_to_offline_store("v", frame.assign(n="text"))
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 3


def test_rows_are_added_to_a_folder_as_a_file(make_store, make_view, tmp_path):
    from feast import FileSource

    from feature_repo.offline_store import ScalespaceOfflineStore

    view, entities = make_view("v", _table([1]))
    (tmp_path / "parts").mkdir()
    (tmp_path / "v.parquet").rename(tmp_path / "parts" / "first.parquet")
    view.batch_source = FileSource(name="v", path="parts", timestamp_field="event_timestamp")
    store = make_store(view, *entities)
    seen: list[int] = []
    for values in ([2, 3], [4]):
        ScalespaceOfflineStore.offline_write_batch(store.config, view, _table(values), seen.append)
    assert seen == [2, 1]
    assert len(list((tmp_path / "parts").iterdir())) == 3
    assert sorted(pq.read_table(tmp_path / "parts").column("n").to_pylist()) == [1, 2, 3, 4]
    with pytest.raises(BadInput, match="view v: the table has the columns n; the source has"):
        ScalespaceOfflineStore.offline_write_batch(
            store.config, view, _table([1]).select(["n"]), None
        )


def test_rows_are_added_to_the_partition_that_they_belong_to(make_store, make_view, tmp_path):
    from feast import FileSource

    table = _table([1]).append_column("kind", pa.array(["x"]))
    view, entities = make_view("v", table)
    (tmp_path / "v.parquet").unlink()
    (tmp_path / "sales" / "kind=x").mkdir(parents=True)
    pq.write_table(_table([1]), tmp_path / "sales" / "kind=x" / "0.parquet")
    view.batch_source = FileSource(name="v", path="sales", timestamp_field="event_timestamp")
    store = make_store(view, *entities)
    frame = pd.DataFrame({"n": [2], "event_timestamp": [T0], "user_id": ["b"], "kind": ["y z"]})
    store.write_to_offline_store("v", frame)
    (written,) = (tmp_path / "sales").glob("kind=y*/*.parquet")
    assert pq.ParquetFile(written).read().to_pylist() == [
        {"user_id": "b", "event_timestamp": T0, "n": 2}
    ]
    asked = pd.DataFrame({"user_id": ["b", "a"], "event_timestamp": [T0, T0]})
    result = store.get_historical_features(asked, ["v:n", "v:kind"]).to_arrow()
    assert result.select(["n", "kind"]).to_pylist() == [
        {"n": 2, "kind": "y z"},
        {"n": 1, "kind": "x"},
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["sales"]
    with pytest.raises(BadInput, match="source v: the rows do not fit .*sales"):
        store.write_to_offline_store("v", frame.assign(n="text"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["sales"]


def test_a_published_view_is_never_written_to(publish, tmp_path):
    from feature_repo.home import view_path
    from feature_repo.store import apply

    home = publish(tmp_path / "home", {"v": _table([1])})
    store = apply(home)
    with pytest.raises(BadInput, match="view v: .*v.parquet is what dbt published, and the next"):
        store.write_to_offline_store("v", _table([2]).to_pandas())
    assert pq.read_table(view_path(home, "v")).equals(_table([1]))


def test_columns_that_differ_in_case_alone_are_not_written_to(make_store, make_view, tmp_path):
    from feature_repo.offline_store import ScalespaceOfflineStore

    table = _table([1]).append_column("N", pa.array([2]))
    view, entities = make_view("v", table)
    store = make_store(view, *entities)
    with pytest.raises(BadInput, match=r"view v: columns of its source differ in case alone \(N\)"):
        ScalespaceOfflineStore.offline_write_batch(store.config, view, table, None)
    assert pq.read_table(tmp_path / "v.parquet").equals(table)


@pytest.mark.parametrize("partitions", [None, ["user_id"]])
def test_logs_are_added_from_a_table_and_from_files(make_store, tmp_path, partitions):
    from feast.feature_logging import LoggingConfig
    from feast.infra.offline_stores.file_source import FileLoggingDestination

    from feature_repo.offline_store import ScalespaceOfflineStore

    store = make_store()
    (tmp_path / "waiting").mkdir()
    pq.write_table(_table([3, 4]), tmp_path / "waiting" / "x.parquet")
    logging_config = LoggingConfig(
        destination=FileLoggingDestination(path="logs", partition_by=partitions)
    )
    for data in (_table([1, 2]), tmp_path / "waiting"):
        ScalespaceOfflineStore.write_logged_features(
            store.config, data, None, logging_config, store.registry
        )
    source = logging_config.destination.to_data_source()
    logged = ScalespaceOfflineStore.pull_all_from_table_or_query(
        store.config, source, ["user_id"], ["n"], "event_timestamp"
    ).to_arrow()
    assert sorted(logged.column("n").to_pylist()) == [1, 2, 3, 4]
    assert set(logged.column("user_id").to_pylist()) == {"a"}
    # Nothing is left of the files in the making.
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["logs", "waiting"]


@pytest.mark.filterwarnings("ignore:Saving dataset is an experimental")
@pytest.mark.parametrize("place", ["train.parquet", "train"])
def test_a_dataset_is_saved_whole_or_not_at_all(make_store, make_view, tmp_path, place):
    from feast.errors import SavedDatasetLocationAlreadyExists
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    view, entities = make_view("v", _table([1]))
    store = make_store(view, *entities)
    # A label, and an instant of any name: both come back.
    rows = pa.table(
        {
            "user_id": ["a", "b"],
            "asked at": pa.array([T0, T0], pa.timestamp("us")),
            "label": [1, 0],
        }
    )
    storage = SavedDatasetFileStorage(str(tmp_path / "sets" / place))
    job = store.get_historical_features(rows, ["v:n"])
    store.create_saved_dataset(job, "train", storage)
    expected = {"user_id": ["a", "b"], "asked at": [T0, T0], "label": [1, 0], "n": [1, None]}
    assert pq.read_table(tmp_path / "sets" / place).to_pydict() == expected
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job = store.get_historical_features(rows.slice(0, 1), ["v:n"])
    job.persist(storage, allow_overwrite=True)
    assert pq.read_table(tmp_path / "sets" / place).num_rows == 1
    assert store.get_saved_dataset("train").to_arrow().column("label").to_pylist() == [1]
    with pytest.raises(BadInput, match="is remote; this store writes local files only"):
        job.persist(SavedDatasetFileStorage("s3://bucket/train.parquet"))
