"""One process that fits models of one home at several epsilons, and attacks them.

``python -m benchmarks.privacy_runs HOME ...`` prints a list of rows in JSON.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.settings import SEED
from feature_repo.manifest import dataset_vars
from trainer.attacking import Attacked, fit_on, judge, member_losses
from trainer.bootstrap import user_intervals
from trainer.config import FitConfig, load_config
from trainer.dataset import Taxonomy
from trainer.fitting import TrainingSet, make_training, read_training_set
from trainer.metrics import row_log_loss
from trainer.models.base import silent
from trainer.private.rules import private_config

# Fewer rows and columns than the default: what is compared here is privacy.
BASE = (
    *("encoder.layers=1", "landmark_weight=0", "chunk=50", "burn_in=25", "tasks.next_item=0"),
    *("tasks.next_category=0", "device=cpu"),
    "features.exclude=[user_rhythm,user_pattern,'@1h','@90d','@365d']",
)


def config_of(taxonomy: Taxonomy, epsilon: float | None, *keys: str) -> FitConfig:
    """The configuration of a fit; private where there is an epsilon."""
    if epsilon is None:
        return load_config(None, [*BASE, *keys])
    return private_config(load_config(None, [*BASE, f"privacy.epsilon={epsilon}", *keys]), taxonomy)


def losses_of(data: TrainingSet, config: FitConfig) -> dict[str, float]:
    """Fit on everybody, and judge at the event instants of the test part."""
    base = make_training(data.dataset, data.training.transition_counts, config, silent)
    model = fit_on(data, base, config, np.unique(base.examples.owners))
    test = data.dataset.test
    test = test.take((test.labels >= 0) & ~test.landmarks)
    rows = row_log_loss(model.predict_proba(test), test.labels)
    low, high = user_intervals({"loss": rows}, test.users)["loss"]
    return {"log-loss": float(rows.mean()), "low": low, "high": high}


def attacked_of(data: TrainingSet, config: FitConfig, models: int) -> Attacked:
    """Attack models of a configuration."""
    losses, members = member_losses(data, config, models, silent)
    return judge(losses, members, config.privacy)


def main() -> None:
    """Fit what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--epsilons", default="1,3,8")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--attacked", type=int, default=0)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    os.environ["SCALESPACE_HOME"] = str(home)
    taxonomy = Taxonomy.from_vars(dataset_vars(home))
    seed = f"seed={arguments.seed}"
    data = read_training_set(home, config_of(taxonomy, None, seed), ("recurrent",), silent)
    epsilons = [*(float(text) for text in arguments.epsilons.split(",")), None]
    rows: list[dict[str, Any]] = []
    for epsilon in epsilons:
        epochs = () if epsilon is None else (f"epochs={arguments.epochs}",)
        for model in ("markov_1", "recurrent"):
            config = config_of(taxonomy, epsilon, seed, f"model={model}", *epochs)
            row: dict[str, Any] = {
                "epsilon": "none" if epsilon is None else f"{epsilon:g}",
                "model": "lstm" if model == "recurrent" else model,
                **losses_of(data, config),
            }
            if arguments.attacked and model == "recurrent" and epsilon in (1.0, 8.0, None):
                found = attacked_of(data, config, arguments.attacked)
                row |= {"loss AUC": found.loss_auc, "shadow AUC": found.shadow_auc}
                row["bound"] = found.bound
            rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
