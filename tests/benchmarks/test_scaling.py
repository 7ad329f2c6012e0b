"""What the benchmark of both engines reads: Spark's event log, and the tree of processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.measurement import Result
from benchmarks.process_tree import run_tree
from benchmarks.scaling import check_equal, duckdb_rows, measured_before
from benchmarks.spark_events import figures_by_model

SQL = "org.apache.spark.sql.execution.ui."
PLAN = """== Physical Plan ==
Execute InsertIntoDataSourceDirCommand (1)

(2) InsertIntoDataSourceDirCommand
Arguments: Storage(Location: /a home/spark/features/user_activity_7d.parquet), parquet, true
"""


def task(stage: int, shuffled: int, spilled: int = 0) -> dict[str, object]:
    metrics = {
        "Shuffle Write Metrics": {"Shuffle Bytes Written": shuffled},
        "Disk Bytes Spilled": spilled,
        "Output Metrics": {"Bytes Written": 1},
        "Executor Run Time": 10,
    }
    return {"Event": "SparkListenerTaskEnd", "Stage ID": stage, "Task Metrics": metrics}


def test_tasks_are_of_the_model_whose_folder_the_statement_writes(tmp_path: Path) -> None:
    start = SQL + "SparkListenerSQLExecutionStart"
    events = [
        {"Event": start, "executionId": 4, "physicalPlanDescription": PLAN},
        # The write itself runs as an execution of its own, under the statement's.
        {"Event": start, "executionId": 5, "physicalPlanDescription": "no folder"},
        {
            "Event": "SparkListenerJobStart",
            "Stage IDs": [1, 2],
            "Properties": {"spark.sql.execution.id": "5", "spark.sql.execution.root.id": "4"},
        },
        task(1, 100),
        task(2, 50, spilled=7),
        {"Event": "SparkListenerJobStart", "Stage IDs": [3], "Properties": {}},
        task(3, 9),
    ]
    (tmp_path / "local-1").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert figures_by_model(tmp_path) == {
        "user_activity_7d": {
            "shuffle_bytes": 150,
            "spill_bytes": 7,
            "written_bytes": 2,
            "task_ms": 20,
        },
        "": {"shuffle_bytes": 9, "spill_bytes": 0, "written_bytes": 1, "task_ms": 10},
    }


def test_memory_is_that_of_all_processes() -> None:
    # A child that holds 100 MB for a second, which the program beside it does not.
    child = "import time; x = bytearray(100 * 2**20); time.sleep(1)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert run_tree([sys.executable, "-c", program]).peak_mb > 100


def test_a_run_goes_on_where_another_ended(tmp_path: Path) -> None:
    first = Result("scaling", "title", {"seed": 7}, trial=True)
    first.add(events=100, engine="spark", seconds=3.0)
    first.finish(tmp_path)
    again = Result("scaling", "title", {"seed": 7}, trial=True)
    assert measured_before(again, tmp_path) == [{"events": 100, "engine": "spark", "seconds": 3.0}]
    other = Result("scaling", "title", {"seed": 8}, trial=True)
    assert measured_before(other, tmp_path) == []


def test_of_a_finished_run_spark_s_rows_are_kept(tmp_path: Path) -> None:
    whole = Result("scaling", "title", {"seed": 7}, trial=False)
    whole.add(events=100, engine="duckdb", seconds=1.0)
    whole.add(events=100, engine="spark", seconds=3.0)
    whole.finish(tmp_path)
    again = Result("scaling", "title", {"seed": 7}, trial=True)
    assert measured_before(again, tmp_path) == [{"events": 100, "engine": "spark", "seconds": 3.0}]


def test_engines_that_publish_different_rows_are_not_compared() -> None:
    rows = [
        {"events": 100, "engine": "duckdb", "rows of features": 50},
        {"events": 100, "engine": "spark", "rows of features": 50},
        {"events": 900, "engine": "spark", "rows of features": 451},
    ]
    check_equal(rows)
    with pytest.raises(SystemExit, match="of 900 events.*'spark': 451, 'duckdb': 450"):
        check_equal([*rows, {"events": 900, "engine": "duckdb", "rows of features": 450}])


def test_duckdb_s_rows_are_those_of_the_same_logs_with_as_much_memory(tmp_path: Path) -> None:
    growth = Result("feature_layer_growth", "title", {"seed": 7, "memory limit": "6GB"}, False)
    figures = {"seconds": 2.0, "CPU seconds": 3.0, "peak MB": 40.0, "models alone": 1.0}
    for events in (100, 900):
        growth.add(events=events, **figures, **{"rows written": 5 * events})
    parameters = {"seed": 7, "memory": "6g"}
    assert duckdb_rows(tmp_path, parameters, {900}) == []
    growth.finish(tmp_path)
    assert duckdb_rows(tmp_path, parameters, {900, 5_000}) == [
        {"events": 900, "engine": "duckdb", **figures, "rows of features": 4_500}
    ]
    assert duckdb_rows(tmp_path, {**parameters, "memory": "8g"}, {900}) == []
