"""How fast an LSTM of two layers of 50 is trained, beside a bare loop in torch.

``python -m benchmarks.training`` prints one table and writes it as JSON.
"""

import argparse
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
    TRAINING_BATCHES,
    TRAINING_EPOCHS,
    TRAINING_EVENTS,
    TRAINING_FEATURES,
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
            for form in ("bare", "ours"):
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
    ]
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=size, default=TRAINING_EVENTS)
    parser.add_argument("--users", type=size, default=TRAINING_USERS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    print(measure(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
