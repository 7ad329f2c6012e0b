"""How fast an LSTM of two layers of 50 is trained, beside a bare loop, and in how much memory.

``python -m benchmarks.training`` and ``python -m benchmarks.training memory`` each print one table
and write it as JSON.
"""

import argparse
import shutil
from statistics import median

from benchmarks.measurement import (
    Aim,
    Result,
    add_common_arguments,
    run_module,
    size,
    working_folder,
)
from benchmarks.settings import (
    EVENTS_PER_USER,
    TRAINING_BATCHES,
    TRAINING_EPOCHS,
    TRAINING_EVENTS,
    TRAINING_FEATURES,
    TRAINING_MEMORY_EVENTS,
    TRAINING_USERS,
)


def measure(arguments: argparse.Namespace) -> Result:
    """Train in a process of its own for each size of a batch."""
    sizes = (arguments.events, arguments.users)
    result = Result(
        "training",
        "An epoch of an LSTM of 2 layers of 50 on one core",
        {
            "events": arguments.events,
            "users": arguments.users,
            "features": TRAINING_FEATURES,
            "epochs of each form": TRAINING_EPOCHS,
            "seed": arguments.seed,
        },
        trial=sizes != (TRAINING_EVENTS, TRAINING_USERS),
    )
    figures: dict[tuple[int, str], float] = {}
    with working_folder(arguments.work) as work:
        for batch in TRAINING_BATCHES:
            options = {
                "events": arguments.events,
                "users": arguments.users,
                "features": TRAINING_FEATURES,
                "epochs": TRAINING_EPOCHS,
                "batch": batch,
                "seed": arguments.seed,
            }
            given = [f"--{name}={value}" for name, value in options.items()]
            finished = run_module("training_forms", work, *given)
            found = finished.report()
            for form in ("bare", "ours", "stored"):
                seconds = median(found[f"{form}_s"])
                figures[batch, form] = seconds
                result.add(
                    form=form,
                    **{"chunks a batch": batch, "CPU s an epoch": seconds},
                    **{"events/s": found["events"] / seconds},
                    **{"positions/s": found["positions"] / seconds},
                    **{"times bare": seconds / figures[batch, "bare"]},
                    **{"peak MB": finished.peak_mb},
                )
    batch = TRAINING_BATCHES[0]  # the default of the trainer
    result.aims = [
        Aim("ours: events/s", found["events"] / figures[batch, "ours"], 100_000, at_most=False),
        Aim("ours over bare", figures[batch, "ours"] / figures[batch, "bare"], 1.15),
        Aim("stored over bare", figures[batch, "stored"] / figures[batch, "bare"], 1.15),
    ]
    return result


def measure_memory(arguments: argparse.Namespace) -> Result:
    """Read, fit and evaluate logs of several sizes, each in a process of its own."""
    result = Result(
        "training_memory",
        "Peak memory of reading, fitting and evaluating",
        {
            "events of a user": EVENTS_PER_USER,
            "features": TRAINING_FEATURES,
            "epochs": 1,
            "seed": arguments.seed,
        },
        trial=tuple(arguments.sizes) != TRAINING_MEMORY_EVENTS,
    )
    with working_folder(arguments.work) as work:
        for events in arguments.sizes:
            folder = work / str(events)
            given = [f"--events={events}", f"--features={TRAINING_FEATURES}"]
            given += [f"--users={events // EVENTS_PER_USER}", f"--seed={arguments.seed}"]
            run_module("training_memory", folder, "write", *given)
            finished = run_module("training_memory", folder, "fit", *given)
            found = finished.report()
            result.add(
                events=events,
                **{"peak MB": finished.peak_mb, "of it at the start MB": found["start_mb"]},
                **{"bytes/event": finished.peak_mb * 2**20 / events},
                **{"MB after reading": found["read_mb"], "after fitting": found["fitted_mb"]},
                **{"CPU seconds": finished.cpu_seconds, "of the epoch": found["epoch_s"]},
            )
            shutil.rmtree(folder)
    result.aims = [
        Aim(f"bytes/event at {events:,}", finished.peak_mb * 2**20 / events, 400),
        Aim(f"peak GB at {events:,}", finished.peak_mb * 2**20 / 1e9, 4),
    ]
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="?", choices=("speed", "memory"), default="speed")
    parser.add_argument("--events", type=size, default=TRAINING_EVENTS)
    parser.add_argument("--users", type=size, default=TRAINING_USERS)
    parser.add_argument(
        "--sizes", type=size, nargs="+", default=TRAINING_MEMORY_EVENTS, help="events, for memory"
    )
    add_common_arguments(parser)
    arguments = parser.parse_args()
    found = (measure if arguments.case == "speed" else measure_memory)(arguments)
    print(found.finish(arguments.results))


if __name__ == "__main__":
    main()
