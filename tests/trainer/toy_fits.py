"""Networks fitted on a toy, and whether two are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import synthetic_log as synthetic
import torch

from trainer.config import FitConfig
from trainer.examples import Dataset
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)


def order_two_training(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> Training:
    """Order says much; instants between events and waits are learned from too."""
    log = synthetic.order_two_log(users=20, events=30)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True, waits=True)
    return training_of(log, dataset, config)


def fitted(config: FitConfig, training: Training, **more: Any) -> Recurrent:
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(replace(training, **more))
    return model


def same_weights(one: Recurrent, other: Recurrent) -> bool:
    left, right = one.network.state_dict(), other.network.state_dict()
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)
