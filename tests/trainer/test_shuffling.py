"""The shuffle test: what is dealt, and its answer on a log with order and on one without."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
import synthetic_log as synthetic

from trainer import metrics
from trainer.config import FitConfig, load_config
from trainer.examples import Dataset
from trainer.fitting import TrainingSet
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.sequences import Sequences
from trainer.shuffling import (
    OrderEffect,
    fit_events_alone,
    judged_rows,
    order_effect,
    shuffled,
    verdict,
)

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 22)
# The last action says most of the next one, or nothing; both give each action a third.
STICKY = ((0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8))
COINS = ((1 / 3,) * 3,) * 3


def log_of(matrix: tuple[tuple[float, ...], ...]) -> synthetic.Log:
    """Order 1 or independent, in sessions that do not end; an event's category is its action."""
    rng = random.Random(6)
    log = synthetic.Log(("a", "b", "c"))
    for number in range(50):
        at = synthetic.START + timedelta(hours=rng.randrange(24 * 28))
        state, events = 0, []
        for _ in range(30):
            state = rng.choices(range(3), matrix[state])[0]
            events.append(synthetic.Event(at, "abc"[state], "xyz"[state]))
            at += timedelta(seconds=rng.randrange(5, 900))
        log.users[f"u{number:02d}"] = events
    return log


@pytest.fixture(scope="module")
def config() -> FitConfig:
    keys = ("encoder.hidden=8", "encoder.layers=1", "epochs=5", "learning_rate=0.02")
    return load_config(None, keys)


Made = Callable[[tuple[tuple[float, ...], ...]], TrainingSet]


@pytest.fixture(scope="module")
def made(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> Made:
    def make(matrix: tuple[tuple[float, ...], ...]) -> TrainingSet:
        log = log_of(matrix)
        dataset = make_dataset(log, TRAIN_END, VALID_END)
        return TrainingSet(dataset, training_of(log, dataset, config), synthetic.INPUTS)

    return make


@pytest.fixture(scope="module")
def coins(made: Made, config: FitConfig) -> tuple[TrainingSet, Recurrent]:
    data = made(COINS)
    return data, fit_events_alone(config, data)


def test_order_matters_where_there_is_one(made: Made, config: FitConfig) -> None:
    data = made(STICKY)
    effect = order_effect(fit_events_alone(config, data), judged_rows(data), seeds=3)
    assert effect.matters
    assert effect.low > 0.2
    assert effect.log_loss < 0.8  # the law's own entropy is .64; ln 3 = 1.10 without the last one
    assert effect.shuffled > 1.0
    assert effect.change == pytest.approx(effect.shuffled - effect.log_loss)
    assert verdict(effect).startswith("Order matters on this log")


def test_order_does_not_matter_to_coins(
    coins: tuple[TrainingSet, Recurrent], config: FitConfig
) -> None:
    data, model = coins
    effect = order_effect(model, judged_rows(data), seeds=3)
    assert effect.rows > 200
    assert effect.low < 0 < effect.high
    assert effect.high - effect.low < 0.05
    assert not effect.matters
    assert "no sign that order matters" in verdict(effect)
    assert "contains 0" in verdict(effect)


def test_what_an_event_says_of_itself_says_nothing_of_the_next(
    coins: tuple[TrainingSet, Recurrent],
) -> None:
    """Case P5: a category that is the event's own action, and coins: the AUC stays at one half."""
    data, model = coins
    rows = judged_rows(data)
    chances = model.predict_proba(rows)
    spread = np.sqrt(1 / 12 / len(rows) * (3 + 1.5))  # of an AUC with a third of positives
    for state in range(3):
        auc = metrics.roc_auc(chances[:, state], rows.labels == state)
        assert abs(auc - 0.5) < 3.5 * spread


def done(sequences: Sequences, rows: slice) -> list[tuple[str, str]]:
    actions, categories = sequences.actions[rows], sequences.categories[rows]
    return list(zip(actions.to_pylist(), categories.to_pylist(), strict=True))


def test_only_what_was_done_is_dealt(coins: tuple[TrainingSet, Recurrent]) -> None:
    data, _ = coins
    rows = judged_rows(data).take(np.arange(0, 200, 9))
    dealt = shuffled(rows, 10, np.random.default_rng(0))
    assert len(dealt) == len(rows)
    assert (dealt.users == rows.users).all()
    assert (dealt.lengths == np.minimum(rows.lengths, 10)).all()
    real, other = rows.sequences, dealt.sequences
    moved = 0
    for row in range(len(rows)):
        window = slice(max(rows.first[row], rows.ends[row] - 10), rows.ends[row])
        own = slice(dealt.first[row], dealt.ends[row])
        before, after = done(real, window), done(other, own)
        assert Counter(before) == Counter(after)  # an action keeps its category
        assert (real.gaps_ms[window] == other.gaps_ms[own]).all()
        assert (real.hours[window] == other.hours[own]).all()
        assert (real.weekdays[window] == other.weekdays[own]).all()
        moved += before != after
    assert moved > len(rows) / 2
    assert dealt.sequences.actions.equals(
        shuffled(rows, 10, np.random.default_rng(0)).sequences.actions
    )


def test_an_interval_below_0_is_said_to_be_so() -> None:
    effect = OrderEffect(10, 5, 1.0, 0.9, -0.1, -0.2, -0.05, 3)
    assert "lies below 0" in verdict(effect)
