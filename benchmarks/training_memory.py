"""One process that reads a log's labels, fits the default network for an epoch, and evaluates it.

``python -m benchmarks.training_memory FOLDER write ...`` writes the log, and ``fit`` prints one
object in JSON: the largest resident memory after each step.
"""

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.training_forms import read_training, write_labels
from trainer.config import load_config
from trainer.evaluation import evaluate
from trainer.models.base import Model
from trainer.models.marginal import Marginal
from trainer.models.markov import Markov
from trainer.models.recurrent import Recurrent
from trainer.training import reproducible


def peak_mb() -> float:
    """Largest resident memory until now, in 2**20 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fit(arguments: argparse.Namespace) -> dict[str, float]:
    """Do what ``trainer fit`` does, with features that are made up instead of read."""
    found = {"start_mb": peak_mb()}
    config = load_config(None, ("epochs=1", "device=cpu"))
    folder = arguments.folder
    dataset, training, features = read_training(
        folder, arguments.features, config, arguments.seed, cut=None
    )
    found["read_mb"] = peak_mb()
    training = replace(training, scratch=folder / "scratch")
    network = Recurrent(config, features)
    models: list[Model] = [Marginal(), Markov(), network]
    begun = time.process_time()
    with reproducible(config.seed, config.threads):
        for model in models:
            model.fit(training)
        found["fitted_mb"] = peak_mb()
        found["fit_s"] = time.process_time() - begun
        found["epoch_s"] = network.curve[0].seconds
        metrics = evaluate(models, dataset)
    dataset.examples.sequences.digest()
    found["rows"] = float(metrics[network.name]["next_action"]["rows"] or 0)
    found["evaluated_mb"] = peak_mb()
    return found


def main() -> None:
    """Write the log, or fit on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("write", "fit"))
    for name in ("events", "users", "features", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.what == "write":
        write_labels(arguments.folder, arguments.events, arguments.users, arguments.seed)
    else:
        print(json.dumps(fit(arguments)))


if __name__ == "__main__":
    main()
