"""What privacy costs in log-loss, and what it takes from who attacks a model.

``python -m benchmarks.privacy`` prints one table and writes it as JSON.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.homes import build_features
from benchmarks.measurement import Result, add_common_arguments, run_module, working_folder
from benchmarks.settings import (
    PRIVACY_EPOCHS,
    PRIVACY_EPSILONS,
    PRIVACY_LOGS,
    PRIVACY_MODELS,
)


def measure(arguments: argparse.Namespace) -> Result:
    """Build each log and fit in a process of its own."""
    full = (arguments.logs, arguments.epochs) == (list(PRIVACY_LOGS), PRIVACY_EPOCHS)
    result = Result(
        "privacy",
        "Log-loss of the next action by the privacy loss of a user, and attacks",
        {
            "logs": ", ".join(arguments.logs),
            "delta": "1e-5",
            "epochs of a private fit": arguments.epochs,
            "models attacked of each kind": PRIVACY_MODELS,
            "seed": arguments.seed,
        },
        trial=not full,
    )
    with working_folder(arguments.work) as work:
        for place, name in enumerate(arguments.logs):
            home = build(name, work, arguments.homes)
            options: list[object] = [
                f"--epsilons={','.join(map(str, PRIVACY_EPSILONS))}",
                *(f"--epochs={arguments.epochs}", f"--seed={arguments.seed}"),
                f"--attacked={PRIVACY_MODELS if place == 0 else 0}",
            ]
            rows: Any = run_module("privacy_runs", home, *options).report()  # a list of them
            for row in rows:
                result.add(log=name, **row)
    return result


def build(name: str, work: Path, homes: Path | None) -> Path:
    """The home of a dataset: one that is there already, or a new one."""
    if homes is not None and (homes / name / "features").exists():
        return homes / name
    home = work / name
    build_features(f"data/{name}.yml", home)
    return home


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", nargs="+", default=list(PRIVACY_LOGS))
    parser.add_argument("--epochs", type=int, default=PRIVACY_EPOCHS)
    parser.add_argument("--homes", type=Path, help="folder of homes that are built and applied")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    print(measure(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
