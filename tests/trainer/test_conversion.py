"""Conversion: metrics by hand, cuts, calibration, and a law that heads must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic
import torch

from trainer import metrics
from trainer.calibration import intercept, platt, slope_over_time
from trainer.config import FitConfig, load_config
from trainer.conversion_evaluation import score_conversion
from trainer.evaluation import evaluate
from trainer.examples import Dataset, build_examples
from trainer.fitting import make_training, population_counts
from trainer.labels import read_labels
from trainer.models.base import Model, Training, silent
from trainer.models.recurrent import Recurrent
from trainer.models.registry import load_model, make_model
from trainer.models.served import Served
from trainer.splits import Cuts, horizon_known, split_conversions

DAY = np.timedelta64(1, "D").astype("timedelta64[us]")
HORIZONS = {"1d": timedelta(days=1), "7d": timedelta(days=7)}
CONVERTING = ("marginal", "recent_popularity", "column", "logistic", "boosting", "recurrent")
START, TRAIN_END, VALID_END = synthetic.START, datetime(2024, 2, 10), datetime(2024, 2, 24)
SMALL = (
    *("encoder.hidden=8", "encoder.layers=1", "epochs=6", "learning_rate=0.01"),
    "tasks.conversion=0.3",
)


# ---- metrics by hand -----------------------------------------------------------------------------


def test_average_precision_steps_over_ties() -> None:
    scores, labels = np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 0, 1, 1])
    # After the first: 1 of 1. After the tie: 2 of 3. After all: 3 of 4.
    assert metrics.average_precision(scores, labels) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert metrics.average_precision(np.ones(8), np.arange(8) < 2) == 0.25
    assert np.isnan(metrics.average_precision(np.ones(2), np.zeros(2)))


def test_lift_counts_ties_at_the_border_by_expectation() -> None:
    labels = np.arange(20) < 4
    assert metrics.lift(-np.arange(20.0), labels) == 5.0  # both of the top two, of a base of .2
    assert metrics.lift(np.ones(20), labels) == pytest.approx(1.0)
    # One row is sure, and one place is left for the 19 others, of which three convert.
    scores = np.where(np.arange(20) == 0, 2.0, 1.0)
    assert metrics.lift(scores, labels) == pytest.approx((1 + 3 / 19) / 2 / 0.2)


def test_binary_losses_and_calibration() -> None:
    chances, labels = np.array([0.9, 0.9, 0.2, 0.2]), np.array([1.0, 0.0, 0.0, 0.0])
    expected = -np.log([0.9, 0.1, 0.8, 0.8])
    assert metrics.binary_log_loss(chances, labels) == pytest.approx(expected)
    error = metrics.binary_calibration_error(chances, labels, bins=10)
    assert error == pytest.approx((2 * abs(0.9 - 0.5) + 2 * 0.2) / 4)
    values = score_conversion([chances], labels, np.array([0, 0, 1, 1]))
    assert values["brier"] == pytest.approx((0.01 + 0.81 + 0.04 + 0.04) / 4)
    assert values["base"] == 0.25
    assert values["roc_auc"] == pytest.approx((2 + 0.5) / 3)


def test_platt_undoes_a_known_distortion() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=40_000)
    labels = (random.random(40_000) < 1 / (1 + np.exp(-true))).astype(float)
    slope, intercept = platt((true - 1.0) * 2.0, labels)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(1.0, abs=0.05)
    slope, intercept = platt((true - 1.0) / 2.0, labels)  # not sure enough: left so
    assert slope == 1.0
    assert intercept > 0.3
    assert platt(true[:30], np.zeros(30)) == (1.0, 0.0)  # nothing to learn from
    assert platt(-true, labels) == (1.0, 0.0)  # a ranking is not turned round


def test_what_does_not_hold_later_is_not_believed() -> None:
    random = np.random.default_rng(1)
    logits, folds = random.normal(size=30_000) * 3, np.repeat([0, 1, 2], 10_000)
    base = np.array([-3.0, 0.0, 1.0])[folds]  # each block of time has another base rate

    def labels_of(slope: float) -> np.ndarray:
        chances = 1 / (1 + np.exp(-(slope * logits + base)))
        return (random.random(30_000) < chances).astype(float)

    assert slope_over_time(logits, labels_of(0.4), folds) == pytest.approx(0.4, abs=0.05)
    assert slope_over_time(logits, labels_of(0.0), folds) == pytest.approx(0.0, abs=0.03)
    assert slope_over_time(logits, labels_of(-0.7), folds) == 0.0  # turned round later
    assert slope_over_time(logits, labels_of(1.8), folds) == 1.0
    # A block with hardly a conversion tells nothing, and without another one nothing is known.
    none = np.zeros(30_000)
    assert slope_over_time(logits, none, folds) == 1.0
    # What held in one block and not in the next ones is hardly believed.
    mixed = np.where(folds == 0, labels_of(0.9), labels_of(0.1))
    assert slope_over_time(logits, mixed, folds) == pytest.approx(0.0, abs=0.1)
    first = np.where(folds == 0, labels_of(0.4), 0.0)
    assert slope_over_time(logits, first, folds) == pytest.approx(0.4, abs=0.1)


def test_an_intercept_makes_the_mean_what_it_is() -> None:
    logits = np.random.default_rng(2).normal(size=5_000) * 4
    labels = np.arange(5_000) < 600
    added = intercept(logits, labels)
    assert (1 / (1 + np.exp(-(logits + added)))).mean() == pytest.approx(0.12, abs=1e-3)
    assert np.isfinite(intercept(logits, np.zeros(5_000)))


# ---- cuts ----------------------------------------------------------------------------------------


def test_a_row_belongs_to_a_part_only_with_its_whole_horizon() -> None:
    begin = np.datetime64("2024-01-01", "us")
    instants = begin + np.arange(20) * DAY
    labels = np.zeros(20, dtype=np.float32)
    labels[18:] = np.nan
    zero = np.timedelta64(0, "us")
    cuts = Cuts(begin + 10 * DAY, begin + 15 * DAY, zero, zero)
    parts = split_conversions(instants, labels, 2 * DAY, instants, cuts)
    assert np.flatnonzero(parts.train).tolist() == list(range(9))  # 8 + 2 days = train_end
    assert np.flatnonzero(parts.valid).tolist() == [11, 12, 13]
    assert np.flatnonzero(parts.test).tolist() == [16, 17]
    # The log's last event before the cut is what was known then, and not the cut itself.
    early = instants[instants <= begin + 9 * DAY]
    known = horizon_known(instants, 2 * DAY, early, begin + 10 * DAY)
    assert np.flatnonzero(known).tolist() == list(range(8))


# ---- a law ---------------------------------------------------------------------------------------


def shop(users: int, seed: int = 0) -> synthetic.Log:
    """Visits a day or two apart. After `cart`, the next visit buys with .8; after `browse`, .05."""
    random = np.random.default_rng(seed)
    log = synthetic.Log(("browse", "cart", "buy"))
    for number in range(users):
        at = START + timedelta(hours=float(random.uniform(0, 24 * 10)))
        last, history = "browse", []
        while at < START + timedelta(days=70):
            buys = random.random() < (0.8 if last == "cart" else 0.05)
            last = "buy" if buys else ("cart" if random.random() < 0.3 else "browse")
            history.append(synthetic.Event(at, last))
            at += timedelta(hours=float(random.uniform(4, 20)))
        log.users[f"u{number:03d}"] = history
    return log


def conversion_table(log: synthetic.Log, spine: pa.Table) -> pa.Table:
    """Labels by the words of their definition."""
    columns: dict[str, list[bool | None]] = {name: [] for name in HORIZONS}
    for row in spine.select(["user_id", "event_timestamp"]).to_pylist():
        user, at = row["user_id"], row["event_timestamp"]
        for name, length in HORIZONS.items():
            inside = [e for e in log.users[user] if at < e.at <= at + length]
            bought = any(event.action == "buy" for event in inside)
            columns[name].append(bought if at + length <= log.end else None)
    table = spine.select(["user_id", "event_timestamp"])
    for name, values in columns.items():
        table = table.append_column(f"converted_within_{name}", pa.array(values, pa.bool_()))
    return table


MakeShop = Callable[[synthetic.Log, FitConfig], tuple[Dataset, Training]]


@pytest.fixture(scope="module")
def make_shop(tmp_path_factory: pytest.TempPathFactory) -> MakeShop:
    def make(log: synthetic.Log, config: FitConfig) -> tuple[Dataset, Training]:
        folder = tmp_path_factory.mktemp("labels")
        spine, label_next = synthetic.label_tables(log)
        pq.write_table(spine, folder / "spine.parquet")
        pq.write_table(label_next, folder / "label_next.parquet")
        pq.write_table(conversion_table(log, spine), folder / "label_conversion.parquet")
        pq.write_table(synthetic.events_table(log), folder / "events.parquet")
        taxonomy = synthetic.taxonomy_of(log, TRAIN_END, VALID_END, HORIZONS)
        labels = read_labels(folder, True, taxonomy.horizons)
        dataset = build_examples(
            labels,
            taxonomy,
            lambda users, instants: synthetic.features_at(log, users.tolist(), instants.tolist()),
        )
        end = dataset.cuts.train_end.item()
        table = synthetic.features_at(log, sorted(log.users), [end] * len(log.users))
        counts = population_counts(table, log.states)
        return dataset, make_training(dataset, counts, config, silent)

    return make


@pytest.fixture(scope="module")
def config() -> FitConfig:
    return load_config(None, [*SMALL, "boosting.iterations=40"])


@pytest.fixture(scope="module")
def shopped(make_shop: MakeShop, config: FitConfig) -> tuple[Dataset, Training]:
    return make_shop(shop(users=25), config)


@pytest.fixture(scope="module")
def fitted(shopped: tuple[Dataset, Training], config: FitConfig) -> dict[str, Model]:
    models = {name: make_model(name, config, synthetic.INPUTS) for name in CONVERTING}
    for model in models.values():
        model.fit(shopped[1])
    return models


def test_no_label_is_known_before_its_horizon_has_passed(
    shopped: tuple[Dataset, Training],
) -> None:
    dataset, training = shopped
    train, valid, test = dataset.train, dataset.valid, dataset.test
    for place, length in enumerate((DAY, 7 * DAY)):
        for part, end in ((train, dataset.cuts.train_end), (valid, dataset.cuts.valid_end)):
            known = ~np.isnan(part.conversions[:, place])
            assert known.sum() > 100
            assert (part.instants[known] + length <= end).all()
        # No user is on both sides of what learns and what stops it.
        stops = set(train.users[training.conversion_stop[:, place]])
        assert stops
        assert not stops & set(train.users[training.conversion_fit[:, place]])
    assert (test.instants > dataset.cuts.valid_end).all()
    assert np.isnan(test.conversions[test.instants + DAY > test.sequences.instants.max()]).all()


def test_users_who_never_come_back_are_judged(shopped: tuple[Dataset, Training]) -> None:
    """Their next action is unknown for ever, and that they do not convert is known."""
    test = shopped[0].test
    silent_rows = (test.labels < 0) & ~np.isnan(test.conversions[:, 0])
    assert silent_rows.sum() > 0 or (test.labels < 0).sum() == 0
    values = evaluate([make_marginal(shopped[1])], shopped[0])["marginal"]
    assert values["next_action"]["rows"] + values["next_action.landmarks"]["rows"] == (
        (test.labels >= 0).sum()
    )
    assert values["conversion_1d"]["rows"] == (~np.isnan(test.conversions[:, 0])).sum()


def make_marginal(training: Training) -> Model:
    model = make_model("marginal", load_config(None), ())
    model.fit(training)
    return model


def test_who_has_a_cart_converts_sooner(
    fitted: dict[str, Model], shopped: tuple[Dataset, Training]
) -> None:
    values = evaluate(fitted.values(), shopped[0])
    base = values["marginal"]["conversion_1d"]
    assert base["roc_auc"] == 0.5
    assert base["average_precision"] == pytest.approx(base["base"])
    assert base["lift_10"] == pytest.approx(1.0)
    for name in ("column", "logistic", "boosting", "lstm"):
        found = values[name]["conversion_1d.events"]
        marginal = values["marginal"]["conversion_1d.events"]
        assert found["roc_auc"] > 0.7, name
        assert found["log_loss"] < marginal["log_loss"] - 0.05, name
        assert values[name]["conversion_1d"]["ece"] < 0.08, name
        assert set(values[name]) >= {"conversion_7d", "conversion_7d.active", "conversion_1d.valid"}


@pytest.mark.parametrize("name", CONVERTING)
def test_saved_and_loaded_it_answers_the_same(
    name: str, fitted: dict[str, Model], shopped: tuple[Dataset, Training], tmp_path: Path
) -> None:
    test = shopped[0].test.take(np.arange(60))
    fitted[name].save(tmp_path)
    loaded = load_model(name, tmp_path)
    assert loaded.horizons == ("1d", "7d")
    chances = loaded.predict_conversion(test)
    assert chances.shape == (60, 2)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert np.array_equal(chances, fitted[name].predict_conversion(test))


def test_what_is_exported_answers_the_same(
    fitted: dict[str, Model], shopped: tuple[Dataset, Training], tmp_path: Path
) -> None:
    """Calibration included, and a row without history gets the shares of the training part."""
    model = fitted["recurrent"]
    assert isinstance(model, Recurrent)
    assert model.network.conversion is not None
    assert (model.network.conversion.calibration != torch.tensor([1.0, 0.0])).any()
    model.save(tmp_path)
    served = Served.load(tmp_path)
    test = shopped[0].test.take(np.arange(60))
    cold = replace(test, ends=test.first.copy())
    assert served.horizons == ("1d", "7d")
    for rows in (test, cold):
        expected = model.predict_conversion(rows)
        assert served.predict_conversion(rows) == pytest.approx(expected, abs=1e-5)
        together = served.predict_all(rows)
        assert together.conversions is not None
        assert np.array_equal(together.conversions, served.predict_conversion(rows))
        assert np.array_equal(together.next_action, served.predict_proba(rows))
    assert np.ptp(served.predict_conversion(cold), axis=0).tolist() == [0.0, 0.0]


def test_any_subset_of_heads(
    shopped: tuple[Dataset, Training], config: FitConfig, tmp_path: Path
) -> None:
    dataset, training = shopped
    alone = config.model_copy(update={"epochs": 2})
    for key, absent in (("conversion", "next_action"), ("next_action", "conversion")):
        tasks = alone.tasks.model_copy(update={absent: 0.0})
        model = Recurrent(alone.model_copy(update={"tasks": tasks}), synthetic.INPUTS)
        model.fit(training)
        names = {name.partition(".")[0] for name in model.network.state_dict()}
        assert ("conversion" in names) == (key == "conversion")
        assert ("head" in names) == (key == "next_action")
        values = evaluate([model], dataset)["lstm"]
        assert any(name.startswith(key) for name in values)
        assert not any(name.startswith(absent) for name in values)
        model.save(tmp_path)
        loaded, served = Recurrent.load(tmp_path), Served.load(tmp_path)
        test = dataset.test.take(np.arange(20))
        for answer in ("predict_proba", "predict_conversion"):
            expected = getattr(model, answer)(test)
            assert np.array_equal(getattr(loaded, answer)(test), expected)
            assert getattr(served, answer)(test) == pytest.approx(expected, abs=1e-5)


def test_events_after_train_end_change_no_weight(make_shop: MakeShop, config: FitConfig) -> None:
    log = shop(users=8, seed=3)
    short = config.model_copy(update={"epochs": 2})
    weights = []
    for of in (log, log.until(TRAIN_END)):
        _, training = make_shop(of, short)
        model = Recurrent(short, synthetic.INPUTS)
        model.fit(training)
        weights.append(model.network.state_dict())
    assert "conversion.calibration" in weights[0]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_the_next_action_does_not_know_of_conversions(
    shopped: tuple[Dataset, Training], config: FitConfig
) -> None:
    """Its encoder and head are those of a fit without the other head, bit for bit."""
    _, training = shopped
    short = config.model_copy(update={"epochs": 2})
    without = short.tasks.model_copy(update={"conversion": 0.0})
    weights = []
    for each in (short, short.model_copy(update={"tasks": without})):
        model = Recurrent(each, synthetic.INPUTS)
        model.fit(training)
        weights.append(model.network.state_dict())
    assert len(weights[0]) > len(weights[1])
    for name in weights[1].keys() - {"converted"}:
        assert torch.equal(weights[1][name], weights[0][name]), name


def test_both_losses_can_move_the_encoder(
    shopped: tuple[Dataset, Training], config: FitConfig
) -> None:
    _, training = shopped
    short = config.model_copy(update={"epochs": 1})
    together = short.tasks.model_copy(update={"together": True})
    weights = []
    for each in (short, short.model_copy(update={"tasks": together})):
        model = Recurrent(each, synthetic.INPUTS)
        model.fit(training)
        weights.append(model.network.encoder.state_dict())
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
