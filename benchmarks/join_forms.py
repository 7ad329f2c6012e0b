"""Historical features in four forms with one meaning, each in a process of its own.

``ours``    this project's offline store, through Feast
``stock``   Feast's DuckDB store
``dask``    Feast's default store
``sql``     the as-of join alone: what any store has to do at least

``python -m benchmarks.join_forms FORM FOLDER`` reads ``entities.parquet`` and ``view_<n>.parquet``
in FOLDER, writes ``<form>.parquet`` there, and prints the seconds of a call. ``stream`` is ours,
written without being held. ``compare`` holds the results of all forms equal.
"""

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.feast_views import feature_names, open_store, references, view_files

if TYPE_CHECKING:
    from feast import FeatureStore

STORES = {
    "ours": "feature_repo.offline_store.ScalespaceOfflineStore",
    "stock": "duckdb",
    "dask": "dask",
}
CALLS = 9  # at most; a form that is slow is called once
PATIENCE_S = 5.0
MEMORY_SHARE = 0.8  # of the machine: beyond it a form has run out of memory, and not the machine


def call_store(form: str, folder: Path) -> list[float]:
    """Ask a Feast store for all features, and return the seconds of each call."""
    store = _open(form, folder)
    rows = _entity_frame(folder)
    seconds: list[float] = []
    while not seconds or (len(seconds) < CALLS and sum(seconds) < PATIENCE_S):
        asked = rows.copy()  # a store may change what it is given
        started = time.perf_counter()
        found = store.get_historical_features(asked, references(folder)).to_arrow()
        seconds.append(time.perf_counter() - started)
    pq.write_table(found, folder / f"{form}.parquet")
    return seconds


def call_sql(folder: Path) -> list[float]:
    """Run the bare as-of join of one view, and return the seconds of each call."""
    view = view_files(folder)[0]
    entities = pq.read_table(folder / "entities.parquet")
    features = ", ".join(f"v.{name}" for name in feature_names(view))
    seconds: list[float] = []
    while len(seconds) < CALLS:
        started = time.perf_counter()
        with duckdb.connect() as connection:
            connection.register("entities", entities)
            found = connection.sql(f"""
                select e.*, {features}
                from entities e asof left join '{view}' v
                    on e.user_id = v.user_id and e.event_timestamp >= v.event_timestamp
            """).to_arrow_table()
        seconds.append(time.perf_counter() - started)
    pq.write_table(found, folder / "sql.parquet")
    return seconds


def stream(folder: Path) -> list[float]:
    """Write all features of all views to Parquet with our store, and return the seconds."""
    store = _open("ours", folder)
    started = time.perf_counter()
    # As SQL, the rows that ask need not be held as a frame either.
    asked = f"select * from read_parquet('{folder / 'entities.parquet'}')"
    job = store.get_historical_features(asked, references(folder))
    job.to_parquet(folder / "stream.parquet")  # type: ignore[attr-defined]
    return [time.perf_counter() - started]


def compare(folder: Path, forms: list[str]) -> tuple[int, int]:
    """Return how many values were compared with those of ``sql``, and how many differ."""
    compared = different = 0
    names = feature_names(view_files(folder)[0])
    with duckdb.connect() as connection:
        for form in forms:
            # A store may give integers beside nulls as doubles; these integers are small.
            differs = " + ".join(
                "count(*) filter (where l.row is null or r.row is null "
                f"or cast(l.{name} as double) is distinct from cast(r.{name} as double))"
                for name in names
            )
            rows, found = connection.execute(f"""
                select count(*), {differs}
                from '{folder / form}.parquet' l
                full join '{folder / "sql"}.parquet' r on l.row = r.row
            """).fetchall()[0]
            compared += rows * len(names)
            different += found
    return compared, different


def check_stream(folder: Path) -> tuple[int, int]:
    """Return how many values of the streamed file were compared, and how many are wrong.

    Each row has to be in the place in which it was asked for, and the features of the last view
    have to be those of the bare as-of join.
    """
    view, stream = view_files(folder)[-1], folder / "stream.parquet"
    names = feature_names(view)
    differs = " + ".join(
        "count(*) filter (where s.row is null or e.row is null "
        f"or s.{name} is distinct from e.{name})"
        for name in names
    )
    with duckdb.connect(config={"temp_directory": str(folder / "spill")}) as connection:
        rows, displaced, different = connection.execute(f"""
            select
                count(*),
                count(*) filter (where s.row is distinct from s.file_row_number),
                {differs}
            from read_parquet('{stream}', file_row_number = true) as s
            full join (
                select e.row, v.* exclude (user_id, event_timestamp)
                from '{folder / "entities.parquet"}' e asof left join '{view}' v
                    on e.user_id = v.user_id and e.event_timestamp >= v.event_timestamp
            ) as e on s.row = e.row
        """).fetchall()[0]
    return rows * (1 + len(names)), displaced + different


def _limit_memory() -> None:
    bytes_allowed = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    resource.setrlimit(resource.RLIMIT_DATA, (bytes_allowed, bytes_allowed))


def _open(form: str, folder: Path) -> "FeatureStore":
    """Return a Feast store of its own, in which the views of `folder` are registered."""
    home = folder / f"feast-{form}"
    home.mkdir(exist_ok=True)
    offline_store = {"type": STORES[form]}
    if form == "ours":
        offline_store["temp_directory"] = str(folder)
    online_store = {"type": "sqlite", "path": str(home / "online.db")}
    return open_store(home, folder, offline_store, online_store)


def _entity_frame(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "entities.parquet")
    frame["event_timestamp"] = frame["event_timestamp"].dt.tz_localize("UTC")
    return frame


def main() -> None:
    """Run the form, or the check, that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    checks = ("compare", "check-stream")
    parser.add_argument("form", choices=(*STORES, "sql", "stream", *checks))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--forms", nargs="+", default=list(STORES))
    arguments = parser.parse_args()
    form, folder = arguments.form, arguments.folder.resolve()
    _limit_memory()
    if form in checks:
        check = compare(folder, arguments.forms) if form == "compare" else check_stream(folder)
        print(json.dumps(dict(zip(("compared", "different"), check, strict=True))))
        return
    if form == "sql":
        seconds = call_sql(folder)
    else:
        seconds = stream(folder) if form == "stream" else call_store(form, folder)
    print(json.dumps({"seconds": statistics.median(seconds), "first": seconds[0]}))


if __name__ == "__main__":
    main()
