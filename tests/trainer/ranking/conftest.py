"""A dataset with items, and its training part."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import synthetic_log as synthetic

sys.path.append(str(Path(__file__).parent))

from ranking_logs import START, Given, habit_log, table_of

from trainer.config import load_config
from trainer.ranking.rows import make_rankings

TRAIN_END, VALID_END = START + timedelta(days=9), START + timedelta(days=12)


@pytest.fixture(scope="session")
def ranked(make_dataset: Callable, training_of: Callable) -> Callable[[synthetic.Log], Given]:
    """Turn a log into a dataset with rankings, and give its training part."""

    def make(log: synthetic.Log) -> Given:
        dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
        logs = {"item": table_of(log), "category": table_of(log, "category_id")}
        dataset = replace(dataset, rankings=make_rankings(dataset, logs))
        return dataset, training_of(log, dataset, load_config(None))

    return make


@pytest.fixture(scope="session")
def habits(ranked: Callable[[synthetic.Log], Given]) -> Given:
    return ranked(habit_log())
