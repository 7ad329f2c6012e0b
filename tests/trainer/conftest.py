"""Fixtures of the trainer's tests: datasets made from synthetic logs, without dbt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))

import synthetic_log as synthetic

from trainer.config import FitConfig, load_config
from trainer.examples import Dataset, build_examples
from trainer.fitting import make_training, population_counts
from trainer.labels import read_labels
from trainer.models.base import Training, silent


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command does to ``SCALESPACE_HOME``."""
    monkeypatch.setenv("SCALESPACE_HOME", "")
    yield


@pytest.fixture
def small_config() -> FitConfig:
    """A network that fits in a second or two."""
    keys = ("encoder.hidden=16", "encoder.layers=1", "epochs=8", "learning_rate=0.01")
    return load_config(None, keys)


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Dataset]:
    """Turn a log into examples, with features straight from their definitions."""

    def make(
        log: synthetic.Log,
        train_end: datetime,
        valid_end: datetime,
        landmarks: bool = False,
        waits: bool = False,
    ) -> Dataset:
        import pyarrow.parquet as pq

        folder = tmp_path_factory.mktemp("labels")
        spine, label_next = synthetic.label_tables(log, landmarks)
        pq.write_table(spine, folder / "spine.parquet")
        pq.write_table(label_next, folder / "label_next.parquet")
        pq.write_table(synthetic.events_table(log), folder / "events.parquet")
        taxonomy = synthetic.taxonomy_of(log, train_end, valid_end)

        def fetch(users: np.ndarray, instants: np.ndarray):
            return synthetic.features_at(log, users.tolist(), instants.tolist())

        return build_examples(read_labels(folder, landmarks), taxonomy, fetch, waits=waits)

    return make


@pytest.fixture(scope="session")
def training_of() -> Callable[..., Training]:
    """Give a dataset's training part to a model, with the population's counts at its end."""

    def give(log: synthetic.Log, dataset: Dataset, config: FitConfig) -> Training:
        users = sorted(log.users)
        end = dataset.cuts.train_end.item()
        counts = population_counts(
            synthetic.features_at(log, users, [end] * len(users)), log.states
        )
        return make_training(dataset, counts, config, silent)

    return give
