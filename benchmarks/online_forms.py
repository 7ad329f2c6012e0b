"""One online store in a process of its own: what it takes to write all rows, and to read some.

``ours``    this project's store: written through Feast, read as the trainer reads it
``feast``   the same store, read through Feast
``packed``  the same store, written as a sync writes it; read by the bare SQLite query, undecoded
``stock``   Feast's SQLite store
``redis``   Feast's Redis store, on a server that this process starts

``python -m benchmarks.online_forms FORM FOLDER`` loads the rows of ``view_<n>.parquet`` in FOLDER
and prints its figures in JSON. The values read are compared with those of the files.
"""

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feast_views import KEYS, open_store, references, view_files

if TYPE_CHECKING:
    from feast import FeatureStore

FORMS = ("ours", "feast", "packed", "stock", "redis")
OURS = ("ours", "feast", "packed")
BATCH_ROWS = 10_000
CALLS = 200  # at most
PATIENCE_S = 5.0


def run(form: str, folder: Path, many: int) -> dict[str, Any]:
    """Write all rows, read 1 and `many` users, and return the figures.

    Returns
    -------
    dict
        ``cells`` written, ``seconds`` that took, ``bytes`` of the store, milliseconds of a read of
        ``one`` user and of ``many`` (medians), values ``compared`` and ``different``.
    """
    with _opened(form, folder) as (store, size):
        write = _write_packed if form == "packed" else _write_through_feast
        cells, seconds = write(store, folder)
        stored = size()
        users = pq.read_table(view_files(folder)[0], columns=["user_id"])["user_id"].to_pylist()
        step = max(1, len(users) // many)
        asked = users[::step][:many]
        read = _reader(form, store, folder)
        compared, different = (0, 0) if form == "packed" else _compare(read(asked), folder, asked)
        return {
            "cells": cells,
            "seconds": seconds,
            "bytes": stored,
            "one": _milliseconds(lambda: read(asked[:1])),
            "many": _milliseconds(lambda: read(asked)),
            "compared": compared,
            "different": different,
        }


def _write_through_feast(store: "FeatureStore", folder: Path) -> tuple[int, float]:
    """Give Feast's interface rows that are converted already, a batch at a time."""
    from feast.utils import _convert_arrow_to_proto

    provider, cells, seconds = store._get_provider(), 0, 0.0
    for path in view_files(folder):
        view = store.get_feature_view(path.stem)
        keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            rows = _convert_arrow_to_proto(batch, view, keys)
            started = time.perf_counter()
            provider.online_write_batch(store.config, view, rows, None)
            seconds += time.perf_counter() - started
            cells += batch.num_rows * len(view.features)
    return cells, seconds


def _write_packed(store: "FeatureStore", folder: Path) -> tuple[int, float]:
    """Pack columns and write them."""
    from feature_repo.cells import row_schema
    from feature_repo.online_store import database, view_id

    opened, cells, seconds = database(store.config), 0, 0.0
    for path in view_files(folder):
        view = store.get_feature_view(path.stem)
        schema, name = row_schema(view.features), view_id(store.config, view)
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            started = time.perf_counter()
            packed = schema.pack([batch.column(n) for n, _ in schema.fields], path.stem)
            entities = batch.column("user_id").to_pylist()
            events = batch.column("event_timestamp").cast(pa.int64()).to_pylist()
            rows = list(zip(entities, events, [None] * len(entities), packed, strict=True))
            opened.push(name, schema, rows)
            seconds += time.perf_counter() - started
            cells += batch.num_rows * len(view.features)
    return cells, seconds


def _reader(form: str, store: "FeatureStore", folder: Path) -> Callable[[list[str]], Any]:
    """Return what reads all features of some users."""
    if form == "ours":
        from trainer.features import Feature, features_now

        types = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE"}
        wanted = [
            Feature(path.stem, field.name, types[field.type])
            for path in view_files(folder)
            for field in pq.read_schema(path)
            if field.name not in KEYS
        ]
        return lambda users: features_now(store, users, wanted)
    if form == "packed":
        from feature_repo.online_store import database, view_id

        opened = database(store.config)
        names = [view_id(store.config, view) for view in store.list_feature_views()]

        def bare(users: list[str]) -> None:
            marks = ",".join("?" * len(users))
            with opened.reading() as connection:
                for name in names:
                    connection.execute(
                        f'select entity, packed from "rows of {name}" where entity in ({marks})',
                        users,
                    ).fetchall()

        return bare
    asked = references(folder)
    return lambda users: store.get_online_features(
        asked, [{"user_id": user} for user in users]
    ).to_dict()


def _compare(found: Any, folder: Path, users: list[str]) -> tuple[int, int]:
    """Return how many values were compared with those of the files, and how many differ."""
    compared = different = 0
    if isinstance(found, pa.Table):
        found = found.to_pydict()
    for path in view_files(folder):
        table = pq.read_table(path)
        place = {user: row for row, user in enumerate(table["user_id"].to_pylist())}
        rows = table.take(pa.array([place[user] for user in users]))
        for name in table.column_names:
            if name not in KEYS:
                pairs = zip(found[name], rows[name].to_pylist(), strict=True)
                different += sum(left != right for left, right in pairs)
                compared += len(users)
    return compared, different


def _milliseconds(call: Callable[[], Any]) -> float:
    """Return the median of some calls, after one that finds everything cold."""
    call()
    taken: list[float] = []
    while len(taken) < CALLS and (len(taken) < 5 or sum(taken) < PATIENCE_S):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)


@contextmanager
def _opened(form: str, folder: Path) -> Iterator[tuple["FeatureStore", Callable[[], int]]]:
    """Give a Feast store with the views of `folder`, and what returns the bytes it takes."""
    home = folder / f"feast-{form}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    path = home / "online.db"
    if form != "redis":
        kind = "feature_repo.online_store.ScalespaceOnlineStore" if form in OURS else "sqlite"
        store = _store({"type": kind, "path": str(path)}, home, folder)

        def size() -> int:
            if form in OURS:
                from feature_repo.online_database import OnlineDatabase

                OnlineDatabase.at(path).checkpoint()
            return sum(file.stat().st_size for file in home.glob("online.db*"))

        yield store, size
        return
    with redis_server(home) as port:
        import redis

        store = _store({"type": "redis", "connection_string": f"127.0.0.1:{port}"}, home, folder)
        client = redis.Redis(port=port)

        def used() -> int:
            return int(client.info("memory")["used_memory"])  # type: ignore[index]

        empty = used()
        yield store, lambda: used() - empty


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Start a Redis server that keeps everything in memory; give its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def _store(online_store: dict[str, str], home: Path, folder: Path) -> "FeatureStore":
    offline_store = {"type": "feature_repo.offline_store.ScalespaceOfflineStore"}
    return open_store(home, folder, offline_store, online_store, registry_cache="thread")


def main() -> None:
    """Run the form that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--many", type=int, default=100)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.form, arguments.folder.resolve(), arguments.many)))


if __name__ == "__main__":
    main()
