"""How fast the feature layer is built: by the shape of the log, by its size, and when it grows.

``python -m benchmarks.feature_layer shapes|growth|increments`` prints one table and writes it as
JSON.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.measurement import (
    ROOT,
    Aim,
    Finished,
    Result,
    add_common_arguments,
    run,
    run_module,
    size,
    working_folder,
)
from benchmarks.settings import (
    ACTIONS,
    EVENTS_PER_USER,
    GROWTH_EVENTS,
    GROWTH_MEMORY,
    INCREMENTS_EVENTS,
    SCALES,
    SHAPES_EVENTS,
    SKEWED_USERS,
)

FORMS = ("steps", "range_all", "entries", "range", "polars")
INCREMENT = 0.01


def shapes(arguments: argparse.Namespace) -> Result:
    """Compare a log of many users with one of few, and ours with RANGE windows and polars."""
    events, seed = arguments.events, arguments.seed
    result = Result(
        "feature_layer_shapes",
        "The whole layer, and the additive measures of user_activity at six scales in six forms",
        {"events": events, "seed": seed},
        trial=events != SHAPES_EVENTS,
    )
    seconds: dict[tuple[str, str], float] = {}
    with working_folder(arguments.work) as work:
        for shape, users in (("uniform", _uniform_users(events)), ("skewed", SKEWED_USERS)):
            log, home, written = work / f"{shape}.parquet", work / "home", work / "forms"
            _write_log(log, events, users, seed)

            def add(
                form: str,
                done: Finished,
                folder: Path,
                models: float | None = None,
                shape: str = shape,
                users: int = users,
            ) -> None:
                seconds[shape, form] = done.seconds
                result.add(
                    **{"shape": shape, "form": form, "users": users},
                    **done.figures(),
                    **{"models alone": models, "rows written": _rows(folder)},
                )

            done = dbt(home, log)
            add("dbt, whole layer", done, home / "features", models_seconds(home))
            shutil.rmtree(home)
            # All of user_activity at these scales, which is more than the other forms compute.
            views = [f"+user_activity_{scale}" for scale in SCALES]
            done = dbt(home, log, "--select", *views)
            add("dbt, user_activity", done, home / "features", models_seconds(home))
            for form in FORMS:
                done = run_module("activity_forms", form, log, written / form)
                add(form, done, written / form)
            check = run_module("activity_forms", "compare", written, home / "features").report()
            if check["different"]:
                raise SystemExit(f"{shape}: {check['different']:,} values differ between the forms")
            result.parameters[f"values compared, {shape}"] = check["compared"]
            for folder in (home, written):
                shutil.rmtree(folder)
    layer = {shape: seconds[shape, "dbt, whole layer"] for shape in ("uniform", "skewed")}
    result.aims = [
        Aim("whole layer, uniform: seconds", layer["uniform"], 90),
        Aim("whole layer: skewed over uniform", layer["skewed"] / layer["uniform"], 1.5),
    ]
    for shape in layer:
        for form in ("range_all", "range"):
            ratio = seconds[shape, form] / seconds[shape, "steps"]
            aim = f"{shape}: seconds, {form} over steps"
            result.aims.append(Aim(aim, ratio, 1, at_most=False))
    return result


def growth(arguments: argparse.Namespace) -> Result:
    """Build the whole layer of logs of several sizes."""
    sizes, seed = tuple(arguments.events), arguments.seed
    result = Result(
        "feature_layer_growth",
        f"The whole layer by size of the log, {EVENTS_PER_USER} events a user",
        {"events": sizes, "seed": seed, "memory limit": GROWTH_MEMORY},
        trial=sizes != GROWTH_EVENTS,
    )
    runs: list[Finished] = []
    with working_folder(arguments.work) as work:
        for events in sizes:
            log, home = work / "log.parquet", work / "home"
            _write_log(log, events, _uniform_users(events), seed)
            runs.append(dbt(home, log, environment={"SCALESPACE_MEMORY_LIMIT": GROWTH_MEMORY}))
            ratio = runs[-1].seconds / runs[-2].seconds if len(runs) > 1 else None
            result.add(
                events=events,
                **runs[-1].figures(),
                **{
                    "models alone": models_seconds(home),
                    "rows written": _rows(home / "features"),
                    "times the size before": ratio,
                },
            )
            shutil.rmtree(home)
    if len(runs) > 1:
        ratio = runs[-1].seconds / runs[-2].seconds
        result.aims.append(Aim("seconds: the last size over the one before", ratio, 12))
    result.aims.append(Aim("the last size: peak in GB", runs[-1].peak_mb / 1024, 8))
    return result


def increments(arguments: argparse.Namespace) -> Result:
    """Build a log in one home; then the same log grown, unchanged, and with a late event."""
    events, seed, command = arguments.events, arguments.seed, arguments.command
    result = Result(
        "feature_layer_increments",
        f"dbt {command} on a log that grew by its last {INCREMENT:.0%} in time",
        {"events": events, "seed": seed},
        trial=events != INCREMENTS_EVENTS or command != "run",
    )
    users = _uniform_users(events)
    with working_folder(arguments.work) as work:
        before, whole, late = (work / f"{name}.parquet" for name in ("before", "whole", "late"))
        _write_log(whole, events, users, seed)
        _write_log(late, events, users, seed, late=1)
        run_module("data", "head", before, "--source", whole, "--rows", _before(events))
        home, fresh = work / "home", work / "fresh"
        runs: list[Finished] = []

        def build(name: str, home: Path, log: Path, *options: str) -> None:
            # One path for all: an increment is a file that was replaced by a longer one.
            shutil.copyfile(log, work / "log.parquet")
            runs.append(dbt(home, work / "log.parquet", *options, command=command))
            models = models_seconds(home)
            result.add(build=name, **runs[-1].figures(), **{"models alone": models})

        build("full", fresh, whole)
        build(f"full, without the last {INCREMENT:.0%}", home, before)
        build(f"the last {INCREMENT:.0%} arrived", home, whole)
        equal = _require_same(home, fresh)
        build("nothing arrived", home, whole)
        equal += _require_same(home, fresh)
        build("one event arrived, nearly two years late", home, late)
        build("full, with the late event", fresh, late, "--full-refresh")
        equal += _require_same(home, fresh)
    result.parameters["rows held equal"] = equal
    # The fastest full build: a machine that was busy during one flatters no increment.
    full = [done for row, done in zip(result.rows, runs, strict=True) if "full" in row["build"]]
    seconds, cpu = min(done.seconds for done in full), min(done.cpu_seconds for done in full)
    for row, done in zip(result.rows, runs, strict=True):
        row["of a full build"] = done.seconds / seconds
        row["of its CPU"] = done.cpu_seconds / cpu
    aim = f"an increment of {INCREMENT:.0%}: share of a full build"
    result.aims = [Aim(aim, runs[2].seconds / seconds, 0.3)]
    return result


def dbt(
    home: Path,
    log: Path,
    *options: str,
    command: str = "run",
    environment: dict[str, str] | None = None,
) -> Finished:
    """Run dbt on a generated log as a user does, with `home` as the home of the run."""
    return run(
        [
            *(str(Path(sys.executable).with_name("dbt")), command, "--no-use-colors"),
            *("--project-dir", str(ROOT / "dbt_project")),
            *("--profiles-dir", str(ROOT / "dbt_project")),
            *("--vars", json.dumps(dataset(log)), *options),
        ],
        {"SCALESPACE_HOME": str(home), **(environment or {})},
    )


def dataset(log: Path) -> dict[str, Any]:
    """Return the dataset file of a generated log."""
    names = ("event_id", "user_id", "action_type", "event_timestamp", "ingested_at")
    details = ("item_id", "category_id", "location", "duration_ms")
    return {
        "dataset": "benchmark",
        "events_path": str(log),
        "columns": {name: name for name in names + details},
        "actions": list(ACTIONS),
        "action_roles": {"search": "search", "cart": "intent", "purchase": "conversion"},
        "horizons": {"conversion": ["1d", "7d"]},
    }


def models_seconds(home: Path) -> float:
    """Return how long the models of the last dbt command took, dbt's start and end left out."""
    results = json.loads((home / "target" / "run_results.json").read_text())["results"]
    spans = [
        step
        for result in results
        if result["unique_id"].startswith("model.")
        for step in result["timing"]
        if step["name"] == "execute"
    ]
    first = min(datetime.fromisoformat(span["started_at"]) for span in spans)
    last = max(datetime.fromisoformat(span["completed_at"]) for span in spans)
    return (last - first).total_seconds()


def _write_log(path: Path, events: int, users: int, seed: int, late: int = 0) -> None:
    run_module(
        *("data", "log", path, "--events", events, "--users", users),
        *("--seed", seed, "--late", late),
    )


def _uniform_users(events: int) -> int:
    return max(1, events // EVENTS_PER_USER)


def _before(events: int) -> int:
    return round(events * (1 - INCREMENT))


def _rows(folder: Path) -> int:
    return run_module("checks", "rows", folder).report()["rows"]


def _require_same(home: Path, fresh: Path) -> int:
    """End the benchmark if two homes publish different rows; return how many they publish."""
    rows = 0
    for folder in ("features", "labels"):
        check = run_module("checks", "different", home / folder, fresh / folder).report()
        if check["different"]:
            raise SystemExit(f"an increment differs from a full build in {check['different']}")
        rows += _rows(home / folder)
    return rows


BENCHMARKS: dict[str, tuple[Callable[[argparse.Namespace], Result], Any]] = {
    "shapes": (shapes, SHAPES_EVENTS),
    "growth": (growth, GROWTH_EVENTS),
    "increments": (increments, INCREMENTS_EVENTS),
}


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, (function, events) in BENCHMARKS.items():
        command = commands.add_parser(name, help=function.__doc__)
        many = isinstance(events, tuple)
        command.add_argument("--events", type=size, nargs="+" if many else None, default=events)
        if name == "increments":
            command.add_argument("--command", choices=("run", "build"), default="run")
        add_common_arguments(command)
    arguments = parser.parse_args()
    function, _ = BENCHMARKS[arguments.benchmark]
    print(function(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
