"""Where features may lie: files, folders, globs, partitions, tables of a database."""

from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import BadInput
from feature_repo.sources import is_remote, pattern

T0 = datetime(2024, 1, 1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _table(seconds, values, **extra) -> pa.Table:
    return pa.table(
        {
            "user_id": ["a"] * len(seconds),
            "event_timestamp": pa.array([at(s) for s in seconds], pa.timestamp("us")),
            "n": values,
            **extra,
        }
    )


def _declare(source, features=("n",)):
    from feast import Entity, FeatureView, Field, ValueType
    from feast.types import Int64, String

    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    schema = [Field(name="user_id", dtype=String), *(Field(name=f, dtype=Int64) for f in features)]
    return user, FeatureView(
        name="v", entities=[user], schema=schema, source=source, ttl=timedelta(0)
    )


def _file_source(path: str):
    from feast import FileSource

    return FileSource(name="v", path=path, timestamp_field="event_timestamp")


ASKED = pa.table(
    {
        "user_id": ["a"] * 3,
        "event_timestamp": pa.array([at(5), at(15), at(25)], pa.timestamp("us")),
    }
)


@pytest.mark.parametrize(
    ("files", "path"),
    [
        (("x.parquet", "y.parquet"), "parts"),
        (("x.parquet", "deep/y.parquet"), "parts/"),
        (("x.parquet", "y.parquet"), "parts/*.parquet"),
        (("one/x.parquet", "two/x.parquet"), "parts/*/x.parquet"),
        (("day=2024-01-01/x.parquet", "day=2024-01-02/x.parquet"), "parts"),
        (("it's [x].parquet", "y.parquet"), "parts"),
    ],
)
def test_a_source_of_several_files(make_store, tmp_path, files, path):
    # Relative paths belong to the feature repository, wherever the process was started.
    for file, table in zip(files, (_table([0, 10], [1, 2]), _table([20], [3])), strict=True):
        place = tmp_path / "parts" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place)
    store = make_store(*_declare(_file_source(path)))
    result = store.get_historical_features(ASKED, ["v:n"]).to_arrow()
    assert result.column("n").to_pylist() == [1, 2, 3]


def test_a_hive_partition_is_a_column(make_store, tmp_path):
    for shard, values in ((7, [1, 2]), (8, [3])):
        folder = tmp_path / "parts" / f"shard={shard}"
        folder.mkdir(parents=True)
        pq.write_table(_table([0, 10] if shard == 7 else [20], values), folder / "x.parquet")
    store = make_store(*_declare(_file_source("parts"), ("n", "shard")))
    result = store.get_historical_features(ASKED, ["v:n", "v:shard"]).to_arrow()
    assert result.column("shard").to_pylist() == [7, 7, 8]


def test_of_equal_rows_the_last_in_the_source_wins(make_store, tmp_path):
    (tmp_path / "parts").mkdir()
    pq.write_table(_table([0, 0], [9, 1]), tmp_path / "parts" / "b.parquet")
    pq.write_table(_table([0, 0], [8, 7]), tmp_path / "parts" / "a.parquet")
    store = make_store(*_declare(_file_source("parts")))
    for threads in (1, 2):
        store.config.offline_store.threads = threads
        result = store.get_historical_features(ASKED, ["v:n"]).to_arrow()
        assert result.column("n").to_pylist() == [1, 1, 1]


def test_names_that_differ_in_case_alone_are_two_columns(make_store, tmp_path):
    table = _table([0], [1], N=[2], n_1=[3], file_row_number=[4], USER_ID=["b"])
    pq.write_table(table, tmp_path / "v.parquet")
    names = ("n", "N", "n_1", "file_row_number")
    store = make_store(*_declare(_file_source("v.parquet"), names))
    result = store.get_historical_features(ASKED, [f"v:{name}" for name in names]).to_arrow()
    assert [result.column(name)[0].as_py() for name in names] == [1, 2, 3, 4]


@pytest.fixture
def database(tmp_path):
    """A database file with a table of features in a schema, and one of entity rows."""
    path = tmp_path / "it's.duckdb"
    with duckdb.connect(str(path)) as connection:
        for name, table in (("features", _table([0, 10, 20], [1, 2, 3])), ("asked", ASKED)):
            connection.register("given", table)
            connection.execute(f"create schema s_{name}; create table s_{name}.t as from given")
    return path


def test_a_table_of_a_database_is_a_source(make_store, database):
    from feast.data_source import DataSource

    from feature_repo.duckdb_source import DuckDBTableSource

    source = DuckDBTableSource(
        name="v",
        database=database.name,
        table="s_features.t",
        timestamp_field="event_timestamp",
        tags={"team": "x"},
    )
    assert DataSource.from_proto(source.to_proto()) == source
    assert dict(source.tags) == {"team": "x"}
    store = make_store(*_declare(source), database=database.name)
    # The registry knows it again, and SQL may name the tables of the database.
    query = "select * from s_asked.t order by event_timestamp desc"
    job = store.get_historical_features(query, ["v:n"])
    assert job.to_arrow().column("n").to_pylist() == [3, 2, 1]
    pulled = store.get_historical_features(
        features=["v:n"], start_date=at(0), end_date=at(10)
    ).to_arrow()
    assert pulled.column("n").to_pylist() == [1, 2]
    types = dict(source.get_table_column_names_and_types(store.config))
    assert types == {"user_id": "string", "event_timestamp": "timestamp[us]", "n": "int64"}
    with pytest.raises(BadInput, match="the SQL does not run"):
        store.get_historical_features("insert into s_asked.t from s_asked.t", ["v:n"])
    with duckdb.connect(str(database)) as connection:
        connection.execute("drop table s_features.t")
    with pytest.raises(BadInput, match=r"view v: table s_features.t of .* cannot be read"):
        store.get_historical_features(ASKED, ["v:n"])
    database.unlink()
    with pytest.raises(BadInput, match="cannot be opened"):
        store.get_historical_features(ASKED, ["v:n"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.decimal128(10, 2), r"view v, column n: type DECIMAL\(10,2\) does not survive"),
        (pa.date32(), "view v, column n: type DATE does not survive"),
        (pa.list_(pa.decimal128(5, 1)), r"type DECIMAL\(5,1\)\[\] does not survive"),
        (pa.list_(pa.list_(pa.date32())), r"type DATE\[\]\[\] does not survive"),
        (pa.time64("us"), "type TIME does not survive"),
    ],
)
def test_a_type_that_feast_cannot_carry_is_refused(make_store, tmp_path, kind, message):
    table = _table([0], [1])
    pq.write_table(table.set_column(2, "n", pa.nulls(1, kind)), tmp_path / "v.parquet")
    store = make_store(*_declare(_file_source("v.parquet")))
    with pytest.raises(BadInput, match=message):
        store.get_historical_features(ASKED, ["v:n"])


@pytest.mark.parametrize("kind", [pa.date32(), pa.string(), pa.int64()])
def test_a_timestamp_that_is_none_is_refused_at_apply(make_store, tmp_path, kind):
    from feast import Entity, FeatureView

    table = _table([0], [1]).set_column(1, "event_timestamp", pa.nulls(1, kind))
    pq.write_table(table, tmp_path / "v.parquet")
    user = Entity(name="user", join_keys=["user_id"])
    # Without a schema, apply reads the columns from the source.
    view = FeatureView(name="v", entities=[user], source=_file_source(str(tmp_path / "v.parquet")))
    with pytest.raises(BadInput, match="column event_timestamp in .* not a timestamp; cast it"):
        make_store(user, view)


def test_sources_that_cannot_be_read_are_refused_by_name(make_store, tmp_path):
    from feast import FileSource
    from feast.data_format import DeltaFormat

    (tmp_path / "empty").mkdir()
    store = make_store(*_declare(_file_source("empty")))
    with pytest.raises(BadInput, match="view v: no Parquet file in the folder .*empty"):
        store.get_historical_features(ASKED, ["v:n"])
    store = make_store(*_declare(_file_source("nothing/*.parquet")))
    with pytest.raises(BadInput, match=r"view v: no file .*nothing/\*.parquet"):
        store.get_historical_features(ASKED, ["v:n"])
    delta = FileSource(
        name="v", path="x", file_format=DeltaFormat(), timestamp_field="event_timestamp"
    )
    store = make_store(*_declare(delta))
    with pytest.raises(BadInput, match="view v: its files are DeltaFormat"):
        store.get_historical_features(ASKED, ["v:n"])
    store = make_store(*_declare(_file_source("empty")), memory_limit="much")
    with pytest.raises(BadInput, match="offline_store settings: .*Memory must have a number"):
        store.get_historical_features(ASKED, ["v:n"])


def test_remote_paths_go_to_duckdb_as_they_are():
    assert is_remote("s3://bucket/v.parquet")
    assert not is_remote("/data/v.parquet")
    assert pattern("s3://bucket/v.parquet") == "s3://bucket/v.parquet"
    assert pattern("gs://bucket/views/") == "gs://bucket/views/**/*.parquet"
    assert pattern("https://host/day=*/v.parquet") == "https://host/day=*/v.parquet"


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("path", ["memory://bucket/v.parquet", "memory://bucket/*.parquet"])
def test_a_remote_path_is_read_through_a_filesystem_of_duckdb(make_store, monkeypatch, path, few):
    """A filesystem in memory, which DuckDB reads as it does a bucket, stands for the network."""
    import fsspec

    bucket, connect = fsspec.filesystem("memory"), duckdb.connect

    def with_bucket(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.register_filesystem(bucket)
        return connection

    with bucket.open("/bucket/v.parquet", "wb") as file:
        pq.write_table(_table([0, 10, 20, 20], [1, 2, 9, 3]), file)
    monkeypatch.setattr("feature_repo.session.duckdb.connect", with_bucket)
    monkeypatch.setattr("feature_repo.point_in_time.FEW_ROWS", few)
    store = make_store(*_declare(_file_source(path)))
    result = store.get_historical_features(ASKED, ["v:n"]).to_arrow()
    assert result.column("n").to_pylist() == [1, 2, 3]


def test_what_duckdb_has_to_download_first_is_said_in_one_line(make_store, tmp_path, monkeypatch):
    connect = duckdb.connect

    def without_extensions(*arguments, config, **options):
        nowhere = {
            "extension_directory": str(tmp_path / "none"),
            "custom_extension_repository": str(tmp_path / "none"),
        }
        return connect(*arguments, config=config | nowhere, **options)

    monkeypatch.setattr("feature_repo.session.duckdb.connect", without_extensions)
    for path, extension in (("s3://bucket/v.parquet", "httpfs"), ("az://c/v.parquet", "azure")):
        store = make_store(*_declare(_file_source(path)))
        with pytest.raises(BadInput) as error:
            store.get_historical_features(ASKED, ["v:n"])
        assert str(error.value) == (
            f"view v: {path} cannot be read (DuckDB needs its extension {extension} for that, and "
            f"could not download it; run `install {extension}` in DuckDB where there is a network)"
        )


def test_features_are_inferred_from_patterns_partitions_and_tables(make_store, tmp_path):
    from feast import Entity, FeatureView, ValueType
    from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

    from feature_repo.duckdb_source import DuckDBTableSource

    table = _table(
        [0],
        [1],
        x=[0.5],
        half=pa.array([0.5], pa.float32()),
        small=pa.array([1], pa.int16()),
        b=[True],
        s=["t"],
        seen=pa.array([at(0)], pa.timestamp("us")),
        xs=[[1]],
        names=[["a"]],
    )
    for day in ("one", "two"):
        (tmp_path / "days" / f"day={day}").mkdir(parents=True)
        pq.write_table(table, tmp_path / "days" / f"day={day}" / "0.parquet")
    with duckdb.connect(str(tmp_path / "d.duckdb")) as connection:
        connection.register("given", table)
        connection.execute("create table t as from given")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    in_database = DuckDBTableSource(
        name="t", database="d.duckdb", table="t", timestamp_field="event_timestamp"
    )
    views = [
        FeatureView(name=name, entities=[user], source=source)
        for name, source in (("files", _file_source("days/*/*.parquet")), ("table", in_database))
    ]
    store = make_store(user, *views)
    expected = {
        "n": Int64,
        "x": Float64,
        "half": Float32,
        "small": Int32,
        "b": Bool,
        "s": String,
        "seen": UnixTimestamp,
        "xs": Array(Int64),
        "names": Array(String),
    }
    found = {
        name: {field.name: field.dtype for field in store.get_feature_view(name).features}
        for name in ("files", "table")
    }
    assert found == {"files": expected | {"day": String}, "table": expected}


def test_a_file_is_read_over_http(make_store, tmp_path):
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    with duckdb.connect() as connection:
        try:
            connection.execute("load httpfs")
        except duckdb.Error:
            # DuckDB fetches this part of itself when it is first used, which needs a network.
            store = make_store(*_declare(_file_source("https://localhost:1/v.parquet")))
            with pytest.raises(BadInput, match="view v: https://localhost:1/v.parquet cannot be"):
                store.get_historical_features(ASKED, ["v:n"])
            return
    pq.write_table(_table([0, 10, 20], [1, 2, 3]), tmp_path / "v.parquet")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v.parquet"
        store = make_store(*_declare(_file_source(url)))
        result = store.get_historical_features(ASKED, ["v:n"]).to_arrow()
        server.shutdown()
    assert result.column("n").to_pylist() == [1, 2, 3]
