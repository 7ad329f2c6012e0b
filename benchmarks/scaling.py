"""Where one machine ends: the whole layer by Spark, beside DuckDB's, by size of the log.

``python -m benchmarks.scaling`` prints two tables and writes them as JSON. It needs the extra
``spark`` and a Java runtime. DuckDB's rows are those of ``benchmarks.feature_layer growth``, which
builds the same logs. All of it takes hours: with ``--resume``, what an earlier run measured with
the same parameters is kept, so that sizes may be measured one after the other.
"""

import argparse
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.feature_layer import dataset, models_seconds
from benchmarks.measurement import (
    RESULTS,
    ROOT,
    Finished,
    Result,
    add_common_arguments,
    add_resume,
    run_module,
    size,
    working_folder,
)
from benchmarks.process_tree import run_tree
from benchmarks.settings import EVENTS_PER_USER, SCALING_EVENTS
from benchmarks.spark_events import figures_by_model

CORES = 2
DUCKDB, SPARK = "duckdb", "spark"
DUCKDB_RESULT = "feature_layer_growth"
# {stage: how its models' names begin}; the first that fits.
STAGES = {
    "log and verdicts": ("base_", "stg_", "event_"),
    "events, states": ("int_events", "int_states"),
    "running totals": ("int_",),
    "user_activity": ("user_activity",),
    "user_transitions": ("user_transitions",),
    "user_rhythm": ("user_rhythm",),
    "user_sequence": ("user_sequence",),
    "user_recency, user_session, user_pattern": ("user_",),
    "item_activity, action_transitions": ("item_", "action_"),
    "labels": ("spine", "label_", "events"),
}


def scaling(arguments: argparse.Namespace) -> list[Result]:
    """Build logs of several sizes; then say what each stage cost per event."""
    parameters = {"seed": arguments.seed, "memory": arguments.memory, "Spark": f"local[{CORES}]"}
    whole = Result(
        "scaling", f"The whole layer, {EVENTS_PER_USER} events a user", parameters, trial=True
    )
    stages = Result("scaling_stages", "Spark, of one event, by stage", dict(parameters), trial=True)
    if arguments.resume:
        for result in (whole, stages):
            result.rows = measured_before(result, arguments.results)
    with working_folder(arguments.work) as work:
        for events in arguments.events:
            if any(row["events"] == events for row in whole.rows):
                continue
            log = work / "log.parquet"
            run_module(
                *("data", "log", log, "--events", events),
                *("--users", max(1, events // EVENTS_PER_USER), "--seed", arguments.seed),
            )
            one, its_stages = _measure(work, log, events, arguments.memory)
            whole.add(events=events, engine=SPARK, **one)
            for stage, cells in its_stages.items():
                stages.add(events=events, stage=stage, **cells)
            for result in (whole, stages):
                result.finish(arguments.results)
    sizes = {row["events"] for row in whole.rows}
    whole.rows += duckdb_rows(RESULTS, parameters, sizes)
    whole.rows.sort(key=lambda row: (row["events"], row["engine"]))
    stages.rows.sort(key=lambda row: row["events"])
    check_equal(whole.rows)
    found = {(row["events"], row["engine"]) for row in whole.rows}
    complete = {(events, engine) for events in SCALING_EVENTS for engine in (DUCKDB, SPARK)}
    whole.trial = stages.trial = found != complete
    return [whole, stages]


def duckdb_rows(
    folder: Path, parameters: dict[str, Any], sizes: Collection[int]
) -> list[dict[str, Any]]:
    """Return what was measured of DuckDB on the same logs with as much memory."""
    path = folder / f"{DUCKDB_RESULT}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    memory = f"{parameters['memory'].upper()}B"
    theirs = content["parameters"]
    if (theirs["seed"], theirs["memory limit"]) != (parameters["seed"], memory):
        return []
    kept = ("seconds", "CPU seconds", "peak MB", "models alone")
    return [
        {
            "events": row["events"],
            "engine": DUCKDB,
            **{name: row[name] for name in kept},
            "rows of features": row["rows written"],
        }
        for row in content["rows"]
        if row["events"] in sizes
    ]


def measured_before(result: Result, folder: Path) -> list[dict[str, Any]]:
    """Return Spark's rows of an earlier run; see ``Result.earlier_rows``."""
    return [row for row in result.earlier_rows(folder) if row.get("engine", SPARK) == SPARK]


def check_equal(rows: list[dict[str, Any]]) -> None:
    """Stop where the engines published different numbers of rows of one log."""
    published: dict[int, dict[str, int]] = defaultdict(dict)
    for row in rows:
        published[row["events"]][row["engine"]] = row["rows of features"]
    for events, by_engine in published.items():
        if len(set(by_engine.values())) > 1:
            raise SystemExit(
                f"of {events:,} events the engines publish different numbers of rows: {by_engine}"
            )


def _measure(
    work: Path, log: Path, events: int, memory: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The figures of one build, and those of its stages."""
    home, events_log = work / "home", work / "events"
    shutil.rmtree(events_log, ignore_errors=True)
    events_log.mkdir()
    done = build(home, log, events_log, memory)
    figures = figures_by_model(events_log)
    shuffled = sum(each["shuffle_bytes"] for each in figures.values())
    one = {
        **done.figures(),
        "models alone": models_seconds(home),
        "rows of features": run_module("checks", "rows", home / "features").report()["rows"],
        "files": len(list((home / "features").resolve().glob("*/*.parquet"))),
        "MB published": _megabytes(home),
        "MB shuffled": shuffled / 2**20,
    }
    its_stages = by_stage(home, figures, events)
    shutil.rmtree(home)
    return one, its_stages


def build(home: Path, log: Path, events_log: Path, memory: str) -> Finished:
    """Run dbt on a generated log, with `home` as the home of the run."""
    configuration = events_log.with_name("spark-conf")
    configuration.mkdir(exist_ok=True)
    (configuration / "spark-defaults.conf").write_text(
        f"spark.eventLog.enabled true\nspark.eventLog.dir file://{events_log}\n"
        "spark.eventLog.rolling.enabled false\nspark.eventLog.compress false\n"
    )
    home.mkdir()
    return run_tree(
        [
            *(str(Path(sys.executable).with_name("dbt")), "run", "--no-use-colors"),
            *("--project-dir", str(ROOT / "dbt_project")),
            *("--profiles-dir", str(ROOT / "dbt_project"), "--target", SPARK),
            *("--vars", json.dumps(dataset(log))),
        ],
        {
            "SCALESPACE_HOME": str(home),
            "SCALESPACE_SPARK_MASTER": f"local[{CORES}]",
            "SCALESPACE_SPARK_MEMORY": memory,
            "SPARK_CONF_DIR": str(configuration),
        },
    )


def by_stage(
    home: Path, figures: dict[str, dict[str, int]], events: int
) -> dict[str, dict[str, Any]]:
    """Return what each stage cost of one event: microseconds of wall time, and bytes.

    Two models run side by side, so the microseconds of the stages add up to more than the run.
    """
    spent: dict[str, float] = defaultdict(float)
    moved: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    results = json.loads((home / "target" / "run_results.json").read_text())["results"]
    for result in results:
        name = result["unique_id"].split(".")[-1]
        if result["unique_id"].startswith("model."):
            spent[_stage(name)] += result["execution_time"]
            for kind, value in figures.get(name, {}).items():
                moved[_stage(name)][kind] += value
    cells: dict[str, dict[str, Any]] = {}
    for stage in [*STAGES, "other"]:
        if stage in spent:
            cells[stage] = {
                "us": 1e6 * spent[stage] / events,
                "task us": 1e3 * moved[stage]["task_ms"] / events,
                "bytes shuffled": moved[stage]["shuffle_bytes"] / events,
                "bytes spilled": moved[stage]["spill_bytes"] / events,
                "bytes written": moved[stage]["written_bytes"] / events,
            }
    return cells


def _stage(model: str) -> str:
    return next((stage for stage, starts in STAGES.items() if model.startswith(starts)), "other")


def _megabytes(home: Path) -> float:
    folders = (home / "features", home / "labels")
    files = (file for folder in folders for file in folder.resolve().rglob("*.parquet"))
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=size, nargs="+", default=SCALING_EVENTS)
    parser.add_argument("--memory", default="6g", help="of Spark's Java process")
    add_common_arguments(parser)
    add_resume(parser)
    arguments = parser.parse_args()
    for result in scaling(arguments):
        print(result.finish(arguments.results))


if __name__ == "__main__":
    main()
