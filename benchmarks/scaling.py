"""Where one machine ends: the whole layer by DuckDB and by Spark, by size of the log.

``python -m benchmarks.scaling`` prints one table and writes it as JSON. It needs the extra
``spark`` and a Java runtime.
"""

import argparse
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.feature_layer import dataset, models_seconds
from benchmarks.measurement import (
    ROOT,
    Finished,
    Result,
    add_common_arguments,
    run_module,
    size,
    working_folder,
)
from benchmarks.process_tree import run_tree
from benchmarks.settings import EVENTS_PER_USER, SCALING_EVENTS
from benchmarks.spark_events import figures_by_model

CORES = 2
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
    """Build logs of several sizes with both engines; then say what each stage cost per event."""
    sizes, seed = tuple(arguments.events), arguments.seed
    parameters = {"events": sizes, "seed": seed, "Spark": f"local[{CORES}]"}
    trial = sizes != SCALING_EVENTS
    whole = Result(
        "scaling", f"The whole layer, {EVENTS_PER_USER} events a user", parameters, trial
    )
    stages = Result("scaling_stages", "Of one event, by stage", dict(parameters), trial)
    with working_folder(arguments.work) as work:
        for events in sizes:
            log = work / "log.parquet"
            run_module(
                *("data", "log", log, "--events", events),
                *("--users", max(1, events // EVENTS_PER_USER), "--seed", seed),
            )
            rows = {}
            for engine in arguments.engines:
                home, events_log = work / engine, work / "events"
                shutil.rmtree(events_log, ignore_errors=True)
                events_log.mkdir()
                done = build(home, log, engine, events_log, arguments.memory)
                figures = figures_by_model(events_log) if engine == "spark" else {}
                shuffled = sum(f["shuffle_bytes"] for f in figures.values())
                rows[engine] = run_module("checks", "rows", home / "features").report()["rows"]
                whole.add(
                    events=events,
                    engine=engine,
                    **done.figures(),
                    **{
                        "models alone": models_seconds(home),
                        "rows of features": rows[engine],
                        "files": len(list((home / "features/").rglob("*.parquet")))
                        if engine == "spark"
                        else len(list((home / "features/").glob("*.parquet"))),
                        "MB published": _megabytes(home),
                        "MB shuffled": shuffled / 2**20 if figures else None,
                    },
                )
                for stage, cells in by_stage(home, figures, events).items():
                    stages.add(events=events, engine=engine, stage=stage, **cells)
                shutil.rmtree(home)
            if len(set(rows.values())) > 1:
                raise SystemExit(f"the engines publish different numbers of rows: {rows}")
    return [whole, stages]


def build(home: Path, log: Path, engine: str, events_log: Path, memory: str) -> Finished:
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
            *("--profiles-dir", str(ROOT / "dbt_project"), "--target", engine),
            *("--vars", json.dumps(dataset(log))),
        ],
        {
            "SCALESPACE_HOME": str(home),
            "SCALESPACE_SPARK_MASTER": f"local[{CORES}]",
            "SCALESPACE_SPARK_MEMORY": memory,
            "SCALESPACE_MEMORY_LIMIT": memory.upper() + "B",
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
            cells[stage] = {"us": 1e6 * spent[stage] / events}
            if figures:
                cells[stage] |= {
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
    parser.add_argument(
        "--engines", nargs="+", choices=("duckdb", "spark"), default=("duckdb", "spark")
    )
    parser.add_argument("--memory", default="6g", help="of DuckDB, and of Spark's Java process")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    for result in scaling(arguments):
        print(result.finish(arguments.results))


if __name__ == "__main__":
    main()
