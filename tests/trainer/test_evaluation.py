"""Evaluation: slices by hand, ties, seeds, and what a prediction's batch must not change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import synthetic_log as synthetic

from feature_repo.errors import BadInput
from trainer.config import load_config
from trainer.evaluation import evaluate, require_metrics, score
from trainer.examples import Dataset, Examples
from trainer.models.recurrent import Recurrent
from trainer.slices import active_rows, next_action_slices

Event = synthetic.Event
START = datetime(2024, 1, 1)
STATES = 3


class Constant:
    """Knows nothing: every state is equally likely."""

    name = "constant"

    def predict_proba(self, examples: Examples) -> np.ndarray:
        return np.full((len(examples), STATES), 1 / STATES)


@pytest.fixture(scope="module")
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    """`old` acts in training and test, `new` in the test part alone, with a pause of 100 days."""
    days = [START + timedelta(days=day) for day in range(200)]
    log = synthetic.Log(
        ("a", "b"),
        {
            "old": [Event(at, "ab"[n % 2]) for n, at in enumerate(days[:30])],
            "new": [Event(days[20], "a"), Event(days[21], "b"), Event(days[121], "b")],
            "end": [Event(days[199], "a")],
        },
    )
    return make_dataset(log, days[10], days[15], landmarks=True)


def test_slices_by_hand(dataset: Dataset) -> None:
    test = dataset.test
    rows = next_action_slices("t", dataset, test)
    counts = {name: int(chosen.sum()) for name, chosen in rows.items()}
    # `old` has 14 events after day 15, `new` three, and `end` one, which ends the log: nothing is
    # known of what comes next. Each other event is followed by `leave`.
    assert counts["t"] == 17
    assert counts["t.seen_users"] == 14
    assert counts["t.cold_users"] == 3
    assert counts["t.short_histories"] == 3  # those of `new`
    # Landmarks at 2, 8, 32, 128, 512, 2048 hours while the next event is known: two in each of
    # the pauses of one day that end after day 15 (`old` has 14 of them and `new` one), and 6 in
    # that of 100 days.
    assert counts["t.landmarks"] == 2 * 14 + 2 + 6
    # 512 hours are 21 days, and 2048 are 85: one landmark lies beyond 30 days.
    assert counts["t.active"] == 17 + 2 * 14 + 2 + 5


def test_active_is_an_event_less_than_thirty_days_ago(dataset: Dataset) -> None:
    examples = dataset.test
    chosen = active_rows(examples)
    last = examples.sequences.instants[examples.ends - 1]
    days = (examples.instants - last) / np.timedelta64(1, "D")
    assert days[~chosen].min() > 80
    assert days[chosen].max() < 22


def test_a_constant_model_gets_exactly_k_of_v(dataset: Dataset) -> None:
    tasks = evaluate([Constant()], dataset)["constant"]
    for values in tasks.values():
        assert values["accuracy"] == pytest.approx(1 / 3, abs=1e-12)
        assert values["top_3"] == 1.0
        assert values["log_loss"] == pytest.approx(np.log(3))
        assert (values["log_loss_low"], values["log_loss_high"]) == pytest.approx((np.log(3),) * 2)


def test_rows_and_users_are_averaged_apart() -> None:
    sure, unsure = [0.9, 0.1], [0.5, 0.5]
    values = score([np.array([sure, sure, sure, unsure])], np.zeros(4, int), np.array([1, 1, 1, 2]))
    assert values["log_loss"] == pytest.approx(-(3 * np.log(0.9) + np.log(0.5)) / 4)
    assert values["user_log_loss"] == pytest.approx(-(np.log(0.9) + np.log(0.5)) / 2)
    assert values["user_accuracy"] == pytest.approx((1 + 0.5) / 2)  # a tie counts by half


def test_seeds_are_averaged_by_metric_and_not_by_probability() -> None:
    one, other = np.array([[0.8, 0.2]]), np.array([[0.2, 0.8]])
    values = score([one, other], np.array([0]), np.array([0]))
    assert values["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2)
    assert values["accuracy"] == 0.5
    assert values["seeds"] == 2
    spread = (np.log(0.8) - np.log(0.2)) / np.sqrt(2)
    assert values["log_loss_seed_std"] == pytest.approx(spread)


def test_what_is_asked_for_must_be_there() -> None:
    found = {"m": {"next_action": {"log_loss": 0.5, "ece": None}, "next_action.active": {"x": 1.0}}}
    assert require_metrics(found, ["log_loss", "next_action.active:x"], "m") == {
        "log_loss": 0.5,
        "next_action.active:x": 1.0,
    }
    for missing, message in (
        ("nope", "'nope' has no value for m; those with one: log_loss"),
        ("ece", "'ece' has no value for m"),
        ("next_action.cold_users:log_loss", "no rows of 'next_action.cold_users'"),
    ):
        with pytest.raises(BadInput, match=message):
            require_metrics(found, [missing], "m")


@pytest.fixture(scope="module")
def fitted(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Any]
) -> tuple[Recurrent, Dataset]:
    log = synthetic.order_two_log(users=40, events=30, seed=2)
    data = make_dataset(log, datetime(2024, 1, 20), datetime(2024, 1, 24), landmarks=True)
    config = load_config(None, ["encoder.hidden=8", "encoder.layers=1", "epochs=2"])
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, data, config))
    return model, data


def test_no_batch_size_changes_a_metric(
    fitted: tuple[Recurrent, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = fitted
    whole = evaluate([model], data)["lstm"]
    assert whole["next_action"]["rows"] > 100
    for rows in (1, 7, 512):
        monkeypatch.setattr("trainer.models.recurrent._ROWS", rows)
        found = evaluate([model], data)["lstm"]
        assert found.keys() == whole.keys()
        for task, values in found.items():
            assert values == pytest.approx(whole[task], abs=1e-6), (rows, task)
