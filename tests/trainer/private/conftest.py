"""A small log and its tensors, as a private fit reads them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
import torch

sys.path.append(str(Path(__file__).parent))

from private_home import publish
from private_records import Small

from trainer.config import load_config
from trainer.examples import Dataset
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.private.records import make_records
from trainer.tensors import Targets

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home on which features are applied, and its dataset file; runs may be added to it."""
    log = synthetic.order_two_log(users=40, events=20)
    return publish(log, tmp_path_factory.mktemp("private"))


@pytest.fixture(scope="session")
def small_training(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]
) -> Training:
    log = synthetic.order_two_log(users=14, events=25)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    return training_of(log, dataset, load_config(None, ["stopping.share=0"]))


@pytest.fixture(scope="session")
def small(small_training: Training) -> Callable[..., Small]:
    """Without dropout, so that a gradient can be computed twice."""

    def make(*keys: str, scored: int = 100, burn_in: int = 50) -> Small:
        fixed = ("encoder.hidden=7", "encoder.dropout=0", "encoder.unknown=0", "head.dropout=0")
        config = load_config(None, [*fixed, "fusion.scale_dropout=0", *keys])
        model = Recurrent(config, synthetic.INPUTS)
        model.fit(_briefly(small_training))
        torch.manual_seed(3)
        network = model.fresh_network()
        with torch.no_grad():  # else the last layer starts so small that other gradients vanish
            for weight in network.parameters():
                weight.normal_(std=0.4)
        tensors = model.tensors(small_training.examples)
        marks = torch.from_numpy(small_training.examples.landmarks)
        weights = torch.where(marks, 0.3, 1.0) * torch.from_numpy(small_training.fit)
        nothing = torch.zeros_like(weights)
        targets = Targets(weights, nothing[:, None], nothing)
        records = make_records(tensors, targets.rows, scored, burn_in)
        return Small(config, network, tensors, targets, records)

    return make


def _briefly(training: Training) -> Training:
    """The same with few rows to learn from: the encoders are what is needed."""
    few = np.zeros(len(training.fit), dtype=bool)
    few[np.flatnonzero(training.fit)[:3]] = True
    return replace(training, fit=few)
