"""How fast historical features are: our offline store, Feast's own, and the bare as-of join.

``python -m benchmarks.point_in_time compare|stream`` prints one table and writes its JSON.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measurement import (
    Aim,
    Failed,
    Result,
    add_common_arguments,
    run_module,
    size,
    working_folder,
)
from benchmarks.settings import (
    COMPARED_FEATURES,
    COMPARED_ROWS,
    JOIN_USERS,
    STREAMED_FEATURES,
    STREAMED_ROWS,
)

OURS = ("sql", "ours")
THEIRS = ("dask", "stock")
LIMIT_S = 1800.0


def compare(arguments: argparse.Namespace) -> Result:
    """Ask four forms for the features of one view, with as many entity rows as feature rows."""
    sizes, users, theirs = tuple(arguments.rows), arguments.users, tuple(arguments.theirs)
    result = Result(
        "point_in_time_compare",
        f"Historical features of one view of {COMPARED_FEATURES} features, as many rows of each",
        {"rows": sizes, "users": users, "seed": arguments.seed},
        trial=(sizes, users, theirs) != (COMPARED_ROWS, JOIN_USERS, THEIRS),
    )
    compared = 0
    calls: dict[str, float] = {}
    peaks: dict[str, float] = {}
    with working_folder(arguments.work) as work:
        for rows in sizes:
            folder = work / str(rows)
            _write_data(folder, rows, users, (COMPARED_FEATURES,), arguments.seed)
            ended = []
            for form in (*OURS, *theirs):
                row: dict[str, Any] = {"rows": rows, "form": form}
                calls.pop(form, None)
                try:
                    done = run_module("join_forms", form, folder, limit_s=arguments.limit)
                except Failed as failure:
                    if form in OURS:
                        raise
                    result.add(**row, **{"seconds a call": failure.reason})
                    continue
                ended.append(form)
                call = done.report()
                calls[form], peaks[form] = call["seconds"], done.peak_mb
                result.add(
                    **row,
                    **{"seconds a call": call["seconds"], "first call": call["first"]},
                    **{"process seconds": done.seconds, "peak MB": done.peak_mb},
                    **{"times sql": call["seconds"] / calls["sql"]},
                )
            check = run_module("join_forms", "compare", folder, "--forms", *ended[1:]).report()
            if check["different"]:
                raise SystemExit(f"{rows:,} rows: {check['different']:,} values differ from sql's")
            compared += check["compared"]
            shutil.rmtree(folder)
    result.parameters["values compared"] = compared
    result.aims = [
        Aim("last size: ours over sql", calls["ours"] / calls["sql"], 2),
        Aim("last size: ours, peak in GB", peaks["ours"] / 1024, 1),
    ]
    if "stock" in calls:
        ratio = calls["stock"] / calls["ours"]
        result.aims.append(Aim("last size: stock over ours", ratio, 100, at_most=False))
    return result


def stream(arguments: argparse.Namespace) -> Result:
    """Write all features of eight views to Parquet with our store alone."""
    sizes, users = tuple(arguments.rows), arguments.users
    result = Result(
        "point_in_time_stream",
        f"Ours, {sum(STREAMED_FEATURES)} features of {len(STREAMED_FEATURES)} views to Parquet, "
        "as many rows in each view as ask",
        {"rows": sizes, "users": users, "seed": arguments.seed},
        trial=(sizes, users) != (STREAMED_ROWS, JOIN_USERS),
    )
    per_row: list[float] = []
    with working_folder(arguments.work) as work:
        for rows in sizes:
            folder = work / str(rows)
            _write_data(folder, rows, users, STREAMED_FEATURES, arguments.seed)
            done = run_module("join_forms", "stream", folder)
            seconds = done.report()["seconds"]
            per_row.append(seconds / rows)
            result.add(
                rows=rows,
                **{"seconds a call": seconds, "microseconds a row": seconds / rows * 1e6},
                **{"process seconds": done.seconds, "CPU seconds": done.cpu_seconds},
                **{"peak MB": done.peak_mb},
                **{"result MB": (folder / "stream.parquet").stat().st_size / 2**20},
            )
            check = run_module("join_forms", "check-stream", folder).report()
            if check["different"]:
                raise SystemExit(f"{rows:,} rows: {check['different']:,} values are wrong")
            shutil.rmtree(folder)
    result.aims = [Aim("last size: peak in GB", done.peak_mb / 1024, 8)]
    if len(sizes) > 1:
        # Linear, with a fifth for what a machine does between two runs.
        aim = "seconds a row, last size over the one before"
        result.aims.append(Aim(aim, per_row[-1] / per_row[-2], 1.2))
    return result


def _write_data(folder: Path, rows: int, users: int, features: tuple[int, ...], seed: int) -> None:
    common = ("--rows", rows, "--users", users)
    run_module("data", "entities", folder / "entities.parquet", *common, "--seed", seed)
    for n, count in enumerate(features):
        run_module(
            *("data", "features", folder / f"view_{n}.parquet", *common, "--seed", seed + 1 + n),
            *("--prefix", f"v{n}", "--features", count),
        )


BENCHMARKS: dict[str, tuple[Callable[[argparse.Namespace], Result], Any]] = {
    "compare": (compare, COMPARED_ROWS),
    "stream": (stream, STREAMED_ROWS),
}


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, (function, rows) in BENCHMARKS.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument("--rows", type=size, nargs="+", default=rows)
        command.add_argument("--users", type=size, default=JOIN_USERS)
        if name == "compare":
            command.add_argument("--theirs", nargs="*", choices=THEIRS, default=THEIRS)
            command.add_argument(
                "--limit", type=float, default=LIMIT_S, help="seconds after which a form is stopped"
            )
        add_common_arguments(command)
    arguments = parser.parse_args()
    function, _ = BENCHMARKS[arguments.benchmark]
    print(function(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
