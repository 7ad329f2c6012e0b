"""How fast online features are: our online store, Feast's own, Redis, and the bare query.

``python -m benchmarks.online`` prints one table and writes its JSON.
"""

import argparse
import shutil

from benchmarks.measurement import (
    Aim,
    Result,
    add_common_arguments,
    run_module,
    size,
    working_folder,
)
from benchmarks.online_forms import FORMS
from benchmarks.settings import ONLINE_FEATURES, ONLINE_USERS, READ_USERS

_TITLES = {
    "ours": "ours",
    "feast": "ours, read through Feast",
    "packed": "ours, as a sync writes; bare query",
    "stock": "Feast's SQLite",
    "redis": "Redis through Feast",
}


def online(arguments: argparse.Namespace) -> Result:
    """Write the same rows to each store, and read 1 and 100 users from it."""
    users, many = arguments.users, READ_USERS
    result = Result(
        "online",
        f"Online store, {sum(ONLINE_FEATURES)} features in {len(ONLINE_FEATURES)} views",
        {"users": users, "seed": arguments.seed},
        trial=users != ONLINE_USERS,
    )
    forms = list(FORMS)
    if shutil.which("redis-server") is None:
        print("  no redis-server here: Redis is left out")
        forms.remove("redis")
    found = {}
    compared = 0
    with working_folder(arguments.work) as folder:
        for n, count in enumerate(ONLINE_FEATURES):
            run_module(
                *("data", "features", folder / f"view_{n}.parquet"),
                *("--rows", users, "--users", users, "--seed", arguments.seed + n),
                *("--prefix", f"v{n}", "--features", count),
            )
        for form in forms:
            done = run_module("online_forms", form, folder, "--many", many)
            found[form] = figures = done.report()
            if figures["different"]:
                raise SystemExit(f"{form}: {figures['different']:,} values differ from the files'")
            compared += figures["compared"]
            result.add(
                form=_TITLES[form],
                **{"cells written a second": figures["cells"] / figures["seconds"]},
                **{"MB": figures["bytes"] / 2**20},
                **{"bytes a cell": figures["bytes"] / figures["cells"]},
                **{"ms, 1 user": figures["one"], f"ms, {many} users": figures["many"]},
                **{"peak MB": done.peak_mb},
            )
    result.parameters["values compared"] = compared
    ours, stock = found["ours"], found["stock"]
    result.aims = [
        Aim(f"ours: ms, {many} users", ours["many"], 5),
        Aim("ours: ms, 1 user", ours["one"], 0.5),
        Aim("stock over ours: bytes", stock["bytes"] / ours["bytes"], 10, at_most=False),
        Aim("stock over ours: seconds", stock["seconds"] / ours["seconds"], 5, at_most=False),
    ]
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=size, default=ONLINE_USERS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    print(online(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
