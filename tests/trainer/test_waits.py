"""The time to the next event: its metrics by hand, its censoring, and a law that heads find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
import torch

from trainer.config import FitConfig, load_config
from trainer.evaluation import evaluate
from trainer.examples import Dataset
from trainer.models.base import Model, Training
from trainer.models.next_time_head import NextTimeHead, pinball
from trainer.models.recurrent import Recurrent
from trainer.models.registry import load_model, make_model
from trainer.models.served import Served
from trainer.splits import Cuts, split_waits
from trainer.wait_evaluation import score_waits
from trainer.waits import (
    LEVELS,
    as_seconds,
    censored_quantiles,
    interval_hits,
    pinball_loss,
    show_wait,
)

TRAIN_END, VALID_END = datetime(2024, 1, 14), datetime(2024, 1, 17)
NEVER = np.inf


# ---- by hand -------------------------------------------------------------------------------------


def test_quantiles_of_waits_that_all_ended() -> None:
    waits = np.arange(1.0, 11.0)
    assert censored_quantiles(waits, np.full(10, 99.0)).tolist() == [1, 3, 5, 8, 9]


def test_quantiles_of_waits_that_were_left_early() -> None:
    # Kaplan-Meier by hand: of 6, one ends at 1 (S = 5/6); 2 was left; of 4 one ends at 3
    # (S = 5/6 * 3/4 = .625); of 3 one ends at 4 (S = .4167); 5 was left; the last ends at 6.
    waits = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    watched = np.array([9.0, 2.0, 9.0, 9.0, 5.0, 9.0])
    assert censored_quantiles(waits, watched).tolist() == [1, 3, 4, 6, 6]
    # Had the last not ended, the upper quantiles would be the longest that was watched.
    watched[-1] = 6.0
    assert censored_quantiles(waits, watched).tolist() == [1, 3, 4, 6, 6]
    assert censored_quantiles(np.zeros(0), np.zeros(0)).tolist() == [0.0] * 5


def test_dropping_what_did_not_end_would_be_too_short() -> None:
    random = np.random.default_rng(0)
    waits = random.exponential(10.0, 50_000)
    watched = random.uniform(0, 20, 50_000)
    seen = np.minimum(waits, watched)
    true = -10.0 * np.log(1 - np.array(LEVELS[:4]))
    assert censored_quantiles(seen, watched)[:4] == pytest.approx(true, rel=0.03)
    assert np.quantile(waits[waits < watched], 0.5) < 0.7 * true[2]


def test_pinball_by_hand() -> None:
    quantiles = np.expm1([[1.0, 2.0, 3.0, 4.0, 5.0]])
    wait = np.expm1([3.5])
    # Missed by 2.5, 1.5 and .5 from below, .5 and 1.5 from above.
    expected = (0.1 * 2.5 + 0.25 * 1.5 + 0.5 * 0.5 + 0.25 * 0.5 + 0.1 * 1.5) / 5
    assert pinball_loss(quantiles, wait, np.array([NEVER])) == pytest.approx(expected)
    # Watched for 3.5 and nothing came: what lies above it is not wrong.
    expected = (0.1 * 2.5 + 0.25 * 1.5 + 0.5 * 0.5) / 5
    assert pinball_loss(quantiles, wait, wait) == pytest.approx(expected)
    tensors = [torch.tensor(np.log1p(value)) for value in (quantiles, wait, wait)]
    assert pinball(*tensors).tolist() == pytest.approx([expected])


def test_the_true_quantiles_have_the_least_loss_although_waits_are_cut() -> None:
    random = np.random.default_rng(1)
    waits = random.exponential(10.0, 40_000)
    watched = random.uniform(0, 40, 40_000)
    waits = np.minimum(waits, watched)
    true = -10.0 * np.log(1 - np.array(LEVELS))

    def loss(quantiles: np.ndarray) -> float:
        return float(pinball_loss(np.tile(quantiles, (len(waits), 1)), waits, watched).mean())

    for factor in (0.7, 0.85, 1.15, 1.4):
        assert loss(true) < loss(factor * true)


def test_the_interval_is_judged_where_it_was_watched() -> None:
    quantiles = np.tile([2.0, 3.0, 4.0, 5.0, 6.0], (5, 1))
    waits = np.array([1.0, 4.0, 7.0, 4.0, 3.0])
    watched = np.array([9.0, 9.0, 7.0, 4.0, 5.0])
    # Too short, inside, longer than the interval though not ended; and two left before its end, of
    # which one had ended: to count it and not the other would favour the short.
    found = interval_hits(quantiles, waits, watched)
    assert found[:3].tolist() == [0.0, 1.0, 0.0]
    assert np.isnan(found[3:]).all()


def test_a_wait_is_shown_as_a_person_would_say_it() -> None:
    shown = [show_wait(seconds) for seconds in (0, 59.4, 90, 5400, 200_000)]
    assert shown == ["0 s", "59 s", "1.5 min", "1.5 h", "2.3 d"]


@pytest.mark.parametrize("kind", ["concat", "weighted", "gated", "additive"])
def test_quantiles_ascend_whatever_the_weights(kind: str) -> None:
    config = load_config(None, [f"fusion.kind={kind}"])
    torch.manual_seed(0)
    head = NextTimeHead(config.head, config.fusion, 6, ("7d", "7d", "now"))
    start = torch.tensor([1.0, 2.0, 2.0, 6.0, 9.0])  # two that are equal are hardly apart
    head.start_from(start)
    head.eval()
    with torch.no_grad():
        zero = head(torch.zeros(1, 6), torch.zeros(1, 3))
        assert zero[0].tolist() == pytest.approx(start.tolist(), abs=0.05 if kind else 0)
        for weight in head.parameters():
            weight.mul_(5.0).add_(torch.randn_like(weight))
        quantiles = head(torch.randn(500, 6), torch.randn(500, 3))
    assert (quantiles.diff(dim=1) >= 0).all()
    assert as_seconds(np.array([-3.0, 0.0, np.log(11.0)])).tolist() == pytest.approx([0, 0, 10])


# ---- cuts ----------------------------------------------------------------------------------------


def test_a_part_knows_no_wait_that_ends_behind_it() -> None:
    begin, hour = np.datetime64("2024-01-01", "us"), np.timedelta64(1, "h")
    instants = begin + np.arange(12) * hour
    cuts = Cuts(begin + 5 * hour, begin + 8 * hour, hour * 0, hour)
    parts = split_waits(instants, instants, cuts)
    # An instant at the part's last event saw nothing after it, and the purge takes 8 and 7.
    assert np.flatnonzero(parts.train).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(parts.valid).tolist() == [6, 7]
    assert np.flatnonzero(parts.test).tolist() == [9, 10]


# ---- a law ---------------------------------------------------------------------------------------


def paced_log(users: int, seed: int = 0) -> synthetic.Log:
    """After `quick` the next event comes in a minute or two, after `slow` in 10 to 20 hours."""
    random = np.random.default_rng(seed)
    log = synthetic.Log(("quick", "slow"))
    for number in range(users):
        at = synthetic.START + timedelta(hours=float(random.uniform(0, 48)))
        history = []
        while at < synthetic.START + timedelta(days=21):
            action = "quick" if random.random() < 0.7 else "slow"
            history.append(synthetic.Event(at, action))
            wait = random.uniform(60, 120) if action == "quick" else random.uniform(10, 20) * 3600
            at += timedelta(seconds=float(wait))
        log.users[f"u{number:03d}"] = history
    return log


MakeDataset = Callable[..., Dataset]
TrainingOf = Callable[..., Training]


@pytest.fixture(scope="module")
def config() -> FitConfig:
    keys = ("encoder.hidden=8", "encoder.layers=1", "epochs=12", "learning_rate=0.02")
    return load_config(None, [*keys, "batch=4", "tasks.next_time=1"])


@pytest.fixture(scope="module")
def paced(
    make_dataset: MakeDataset, training_of: TrainingOf, config: FitConfig
) -> tuple[Dataset, dict[str, Model]]:
    log = paced_log(users=15)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True, waits=True)
    training = training_of(log, dataset, config)
    names = ("marginal", "markov_1", "recurrent")
    models: dict[str, Model] = {name: make_model(name, config, synthetic.INPUTS) for name in names}
    for model in models.values():
        model.fit(training)
    return dataset, models


def test_the_state_says_how_long(paced: tuple[Dataset, dict[str, Model]]) -> None:
    dataset, models = paced
    found = evaluate(models.values(), dataset)
    losses = {name: tasks["next_time"]["pinball"] for name, tasks in found.items()}
    assert losses["markov_1"] < 0.2 * losses["marginal"]
    assert losses["lstm"] < 0.3 * losses["marginal"]
    assert set(found["lstm"]) >= {f"next_time.{name}" for name in ("landmarks", "active", "valid")}
    for name in ("markov_1", "lstm"):
        assert found[name]["next_time"]["coverage"] == pytest.approx(0.8, abs=0.15)
    test = dataset.test
    quick = test.take((test.states == 0) & (test.watched > 0))
    medians = models["recurrent"].predict_next_time(quick)[:, 2]
    assert np.median(medians) == pytest.approx(90, rel=0.3)


def test_every_watched_instant_is_scored(paced: tuple[Dataset, dict[str, Model]]) -> None:
    """Also of users who never come back: their wait is known to be long."""
    dataset, models = paced
    test = dataset.test
    found = evaluate([models["marginal"]], dataset)["marginal"]
    rows = found["next_time"]["rows"] + found["next_time.landmarks"]["rows"]
    assert rows == (test.watched > 0).sum()
    never = (test.waits >= test.watched) & (test.watched > 0)
    assert never.sum() >= len(set(test.users[never])) > 10
    end = test.sequences.instants.max()
    assert (test.instants + (test.watched * 1e6).astype("timedelta64[us]") <= end).all()
    train = dataset.train
    behind = train.instants + (train.waits * 1e6).astype("timedelta64[us]")
    assert (behind <= dataset.cuts.train_end).all()


def test_saved_exported_and_for_nobody(
    paced: tuple[Dataset, dict[str, Model]], tmp_path: Path
) -> None:
    dataset, models = paced
    test = dataset.test.take(np.arange(50))
    cold = replace(test, ends=test.first.copy(), states=np.full(50, -1))
    for name, model in models.items():
        model.save(tmp_path)
        loaded = load_model(name, tmp_path)
        for rows in (test, cold):
            quantiles = model.predict_next_time(rows)
            assert np.array_equal(loaded.predict_next_time(rows), quantiles)
            assert (np.diff(quantiles, axis=1) >= 0).all()
    served = Served.load(tmp_path)
    assert served.predicts_next_time
    for rows in (test, cold):
        expected = np.log1p(models["recurrent"].predict_next_time(rows))
        assert np.log1p(served.predict_next_time(rows)) == pytest.approx(expected, abs=1e-5)
    prior = models["marginal"].predict_next_time(cold)
    assert served.predict_next_time(cold) == pytest.approx(prior, rel=1e-4)


def test_events_after_train_end_change_no_weight(
    make_dataset: MakeDataset, training_of: TrainingOf, config: FitConfig
) -> None:
    log = paced_log(users=6, seed=2)
    short = config.model_copy(update={"epochs": 2})
    weights = []
    for of in (log, log.until(TRAIN_END)):
        dataset = make_dataset(of, TRAIN_END, VALID_END, landmarks=True, waits=True)
        model = Recurrent(short, synthetic.INPUTS)
        model.fit(training_of(of, dataset, short))
        weights.append(model.network.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_run_without_the_task_says_nothing(
    make_dataset: MakeDataset, training_of: TrainingOf, tmp_path: Path
) -> None:
    config = load_config(None, ["encoder.hidden=4", "encoder.layers=1", "epochs=1"])
    log = paced_log(users=4)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    training = training_of(log, dataset, config)
    models = [make_model(name, config, synthetic.INPUTS) for name in ("markov_1", "recurrent")]
    for model in models:
        model.fit(training)
        model.save(tmp_path)
        assert not model.predicts_next_time
    assert not Served.load(tmp_path).predicts_next_time
    assert not (tmp_path / "next_time.onnx").exists()
    found = evaluate(models, dataset)
    assert not any(name.startswith("next_time") for tasks in found.values() for name in tasks)


def test_seeds_are_averaged(paced: tuple[Dataset, dict[str, Model]]) -> None:
    dataset, models = paced
    test = dataset.test.take(dataset.test.watched > 0)
    quantiles = models["marginal"].predict_next_time(test)
    one, other = (score_waits([each], test) for each in (quantiles, 2 * quantiles))
    both = score_waits([quantiles, 2 * quantiles], test)
    for name in ("pinball", "coverage"):
        assert both[name] == pytest.approx((one[name] + other[name]) / 2)
    assert both["seeds"] == 2
    assert both["pinball_seed_std"] == pytest.approx(
        abs(one["pinball"] - other["pinball"]) / 2**0.5
    )
