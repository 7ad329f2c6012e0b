"""What federated averaging costs beside a central fit, on the same cuts.

``python -m benchmarks.federated`` prints one table and writes it as JSON. It needs the extra
``federated``.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.drift import RETAIL
from benchmarks.homes import build_features
from benchmarks.measurement import Aim, Result, add_common_arguments, working_folder
from trainer.config import FitConfig, load_config

ROUNDS, EPOCHS = 10, 10


def measure(arguments: argparse.Namespace) -> Result:
    """Fit centrally, by countries, and by shares of the users, without and with clipping."""
    from feature_repo.home import labels_dir
    from trainer.evaluation import TASK, evaluate
    from trainer.federated.clients import client_numbers
    from trainer.fitting import read_training_set
    from trainer.models.recurrent import Recurrent

    result = Result(
        "federated",
        "Next action on the test part, an LSTM of 2 layers of 50",
        {"dataset": arguments.dataset, "rounds": ROUNDS, "central epochs": EPOCHS},
        trial=arguments.dataset != RETAIL,
    )
    losses = {}
    with working_folder(arguments.work) as work:
        home = arguments.home or work / "home"
        os.environ["SCALESPACE_HOME"] = str(home)
        if arguments.home is None:
            build_features(arguments.dataset, home)
        off = ["tasks.next_item=0", "tasks.next_category=0", f"seed={arguments.seed}"]
        data = read_training_set(home, load_config(None, off), ("recurrent",), print)
        for name, keys in (
            ("central", [f"epochs={EPOCHS}", "stopping.refit=false"]),
            ("by location", ["federated.by=location"]),
            ("by users, 8 clients", ["federated.by=users"]),
            ("by users, 8 clients, clipped", ["federated.by=users", "federated.user_clip=0.5"]),
        ):
            config: FitConfig = load_config(None, [*off, f"federated.rounds={ROUNDS}", *keys])
            clients = client_numbers(labels_dir(home), data.dataset, config)
            model = Recurrent(config, data.features)
            begun = time.process_time()
            model.fit(replace(data.training, clients=clients))
            seconds = time.process_time() - begun
            found = evaluate([model], data.dataset)[model.name][TASK]
            losses[name] = float(found["log_loss"] or 0)
            number = np.zeros(1) if clients is None else np.bincount(clients)
            result.add(
                form=name,
                clients=len(number),
                **{"users of the largest": int(number.max()) or None},
                **{"log-loss": found["log_loss"], "low": found["log_loss_low"]},
                **{"high": found["log_loss_high"], "accuracy": found["accuracy"]},
                **{"CPU s": seconds},
            )
    result.aims = [
        Aim("log-loss by location less central", losses["by location"] - losses["central"], 0.02),
    ]
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default=RETAIL)
    parser.add_argument("--home", type=Path, help="a home that is built already")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    measure(arguments).finish(arguments.results)


if __name__ == "__main__":
    main()
