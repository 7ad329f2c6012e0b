"""One of several processes that fit a toy together; ``test_together.py`` starts them.

Its argument is a JSON object: the folder of the labels, the keys of the configuration, where the
first process writes its weights, and where somebody dies.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import synthetic_log as synthetic
import torch
from toy_fits import fitted

from feature_repo.errors import BadInput
from trainer import together, training_set
from trainer.checkpoints import Checkpoint
from trainer.config import load_config
from trainer.examples import build_examples
from trainer.fitting import make_training, population_counts
from trainer.labels import read_labels
from trainer.models.base import Training, silent
from trainer.team import joined

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)


def toy_log() -> synthetic.Log:
    return synthetic.order_two_log(users=23, events=31)


def toy_training(folder: Path, config: Any) -> Training:
    """The training part of the toy, whose labels stand in a folder."""
    log = toy_log()
    taxonomy = synthetic.taxonomy_of(log, TRAIN_END, VALID_END)

    def fetch(users: np.ndarray, instants: np.ndarray):
        return synthetic.features_at(log, users.tolist(), instants.tolist())

    dataset = build_examples(read_labels(folder, True), taxonomy, fetch, waits=True)
    users = sorted(log.users)
    end = dataset.cuts.train_end.item()
    counts = population_counts(synthetic.features_at(log, users, [end] * len(users)), log.states)
    return make_training(dataset, counts, config, silent)


def dying(batch: int) -> Any:
    """Ends this process in the second epoch, as a kill does."""

    def track(items: Iterable[Any], _total: int, what: str) -> Iterator[Any]:
        for place, item in enumerate(items):
            if what.startswith("epoch 2") and place == batch:
                os._exit(9)
            yield item

    return track


def main() -> None:
    given = json.loads(sys.argv[1])
    training_set.BUFFER_BYTES = given.get("buffer", training_set.BUFFER_BYTES)
    dies = dying(1) if given.get("dies") == int(os.environ["RANK"]) else None
    with joined(torch.device("cpu")) as team:
        if team.rank:
            if dies is not None:
                together.untracked = dies
            together.follow(team, torch.device("cpu"))
            return
        training = toy_training(Path(given["labels"]), load_config(None, given["keys"]))
        checkpoint = Checkpoint(Path(given["out"]) / "fit.ckpt", given.get("resume", False))
        more = {} if dies is None else {"track": dies}
        model = fitted(
            load_config(None, given["keys"]),
            training,
            team=team,
            checkpoint=checkpoint,
            scratch=Path(given["out"]) / "scratch",
            **more,
        )
        torch.save(
            {"weights": model.network.state_dict(), "loss": [e.loss for e in model.curve]},
            Path(given["out"]) / "weights.pt",
        )


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
