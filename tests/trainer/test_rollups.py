"""Coarser sequences: roll-ups by hand, nothing of the open period, one answer wherever asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from math import log
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic
import torch

from feature_repo.errors import BadInput
from trainer.ablation import source_worth
from trainer.config import load_config
from trainer.examples import Dataset, Examples, unlabelled
from trainer.exporting import export
from trainer.models.base import Training, write_json
from trainer.models.onnx_network import OnnxNetwork
from trainer.models.recurrent import Recurrent
from trainer.models.served import Served
from trainer.reasons import explain
from trainer.rollups import EVENTS, RollupBatch, dated, roll_up
from trainer.sequences import Sequences
from trainer.training import settled

Event = synthetic.Event
# A Friday, the Sunday after, and the Monday after that: one week holds the first two.
THREE = [
    Event(datetime(2024, 1, 5, 10), "a", duration_ms=1000),
    Event(datetime(2024, 1, 7, 23, 59, 59, 999_999), "b"),
    Event(datetime(2024, 1, 8), "a", duration_ms=500),
]


def asked(events: list[Event], *instants: datetime) -> Examples:
    """One user's rows as a fit has them, at instants of its own."""
    log_ = synthetic.Log(("a", "b"), {"u": events})
    sequences = Sequences.from_events(synthetic.events_table(log_))
    features = synthetic.features_at(log_, ["u"] * len(instants), instants)
    rows = unlabelled(
        sequences, np.array(instants[:1], "datetime64[us]"), features[:1], log_.states
    )
    return replace(
        rows,
        owners=np.zeros(len(instants), dtype=np.int64),
        ends=np.array([sum(event.at <= at for event in events) for at in instants]),
        instants=np.array(instants, "datetime64[us]"),
        features=features,
    )


def online(events: list[Event], at: datetime) -> Examples:
    """The same user as the online store has him: fifty events and no instant but the last."""
    log_ = synthetic.Log(("a", "b"), {"u": events})
    values = synthetic.features_at(log_, ["u"], [at])
    place = values.column_names.index("last_action_at")
    column = values["last_action_at"].combine_chunks()
    seconds = column.cast(pa.timestamp("s"), safe=False)  # as Feast keeps it
    values = values.set_column(place, "last_action_at", seconds.cast(pa.timestamp("us")))
    users = np.array(["u"], dtype=object)
    instants = np.array([at], "datetime64[us]")
    return unlabelled(Sequences.from_arrays(users, values), instants, values, log_.states)


def read(examples: Examples, period: str) -> list[np.ndarray]:
    """The roll-ups of each row, one after the other."""
    found = roll_up(examples, ("a", "b"), period)
    return [found.numbers[b:e] for b, e in zip(found.begins, found.ends, strict=True)]


def test_three_events_by_hand() -> None:
    """Counts of a and b, a tenth of log1p of the milliseconds, the days since the one before."""
    rows = asked(
        THREE,
        datetime(2024, 1, 5, 23, 59, 59),  # the first day is open
        datetime(2024, 1, 6),  # and closed now
        datetime(2024, 1, 7, 23, 59, 59, 999_999),
        datetime(2024, 1, 8),  # the second is closed, the third opens with an event
        datetime(2024, 1, 9),
    )
    friday = [log(2), 0, log(1001) / 10, 0]
    sunday = [0, log(2), 0, log(3)]
    monday = [log(2), 0, log(501) / 10, log(2)]
    days = read(rows, "day")
    assert [len(day) for day in days] == [0, 1, 1, 2, 3]
    assert days[4] == pytest.approx(np.array([friday, sunday, monday]), abs=1e-6)
    assert days[3] == pytest.approx(np.array([friday, sunday]), abs=1e-6)
    weeks = read(rows, "week")
    assert [len(week) for week in weeks] == [0, 0, 0, 1, 1]
    assert weeks[3] == pytest.approx(np.array([[log(2), log(2), log(1001) / 10, 0]]), abs=1e-6)
    ages = roll_up(rows, ("a", "b"), "day").ages
    expected = [[0, 0], [log(2), 1], [log(3), 1], [log(2), 1], [log(2), 1]]
    assert ages == pytest.approx(np.array(expected), abs=1e-6)


def test_nothing_at_or_after_the_instant_counts() -> None:
    at = datetime(2024, 1, 8, 12)
    later = [Event(at + timedelta(minutes=m), "b", duration_ms=9) for m in (0, 1, 60 * 24 * 9)]
    for more in (later, later[1:]):
        for period in ("day", "week"):
            (alone,), (followed,) = (
                read(asked(THREE, at), period),
                read(asked(THREE + more, at), period),
            )
            assert np.array_equal(alone, followed)
            assert len(alone) == {"day": 2, "week": 1}[period]


def test_a_period_that_fifty_events_may_cut_is_left_out() -> None:
    """51 events: the oldest of the last fifty is the second one, of the same day as the first."""
    start = datetime(2024, 1, 1, 8)
    first_day = [Event(start + timedelta(hours=h), "a") for h in range(2)]
    second_day = [Event(datetime(2024, 1, 2, 1, m), "b") for m in range(EVENTS - 1)]
    at = datetime(2024, 1, 3)
    (cut,) = read(asked(first_day + second_day, at), "day")
    assert cut[:, :2] == pytest.approx(np.array([[0, log(EVENTS)]]), abs=1e-6)
    (whole,) = read(asked(first_day[1:] + second_day, at), "day")
    assert whole[:, :2] == pytest.approx(np.array([[log(2), 0], [0, log(EVENTS)]]), abs=1e-6)


@pytest.mark.parametrize("period", ["day", "week"])
def test_online_and_offline_read_the_same(period: str) -> None:
    """Events within milliseconds of midnight: the store's second and floors would move them."""
    random = np.random.default_rng(5)
    at, events = datetime(2024, 1, 1), []
    for number in range(130):
        midnight = datetime(at.year, at.month, at.day) + timedelta(days=int(random.integers(0, 2)))
        shift = timedelta(microseconds=int(random.integers(0, 3_000_000)))
        at = max(at + timedelta(microseconds=1), midnight + shift * (-1) ** number)
        events.append(Event(at, "ab"[number % 2], duration_ms=number))
    for seen in (1, 2, 49, 50, 51, 90, 130):
        for wait in (timedelta(0), timedelta(days=3)):
            instant = events[seen - 1].at + wait
            known = events[:seen]
            (offline,) = read(asked(known, instant), period)
            (stored,) = read(online(known, instant), period)
            assert np.array_equal(offline, stored)
    found = dated(online(events, events[-1].at)).sequences.instants
    exact = np.array([event.at for event in events[-EVENTS:]], "datetime64[D]")
    assert np.array_equal(found.astype("datetime64[D]"), exact)


def test_who_is_unknown_has_none() -> None:
    log_ = synthetic.Log(("a", "b"), {"u": THREE})
    at = datetime(2024, 1, 9)
    values = synthetic.features_at(log_, ["nobody", "u"], [at, at])
    sequences = Sequences.from_arrays(np.array(["nobody", "u"], dtype=object), values)
    rows = unlabelled(sequences, np.array([at, at], "datetime64[us]"), values, log_.states)
    nobody, known = read(rows, "day")
    assert (len(nobody), len(known)) == (0, 3)
    assert roll_up(rows, ("a", "b"), "day").ages[0].tolist() == [0, 0]
    alone = rows.take(np.array([0]))
    batch = roll_up(alone, ("a", "b"), "day").batch(np.array([0]))
    assert batch.lengths.tolist() == [0]


def test_a_period_is_named_once_and_known() -> None:
    with pytest.raises(BadInput, match="a period can be named once"):
        load_config(None, ["encoder.coarse=[day, day]"])
    with pytest.raises(BadInput, match="month"):
        load_config(None, ["encoder.coarse=[month]"])


# ---- the model -----------------------------------------------------------------------------------

KEYS = (
    *(
        "encoder.hidden=6",
        "encoder.layers=1",
        "encoder.coarse=[day,week]",
        "encoder.coarse_hidden=4",
    ),
    *(
        "epochs=2",
        "learning_rate=0.02",
        "fusion.kind=additive",
        "tasks.next_time=0.3",
        "device=cpu",
    ),
)


TRAIN_END, VALID_END = datetime(2024, 1, 18), datetime(2024, 1, 21)


def toy_log() -> synthetic.Log:
    return synthetic.markov_log([[0.4, 0.3, 0.1, 0.2]] * 3, users=20, events=40, seed=2)


@pytest.fixture(scope="module")
def fitted(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]
) -> tuple[Recurrent, Dataset, Training]:
    log_ = toy_log()
    dataset = make_dataset(log_, TRAIN_END, VALID_END, True, True)
    config = load_config(None, KEYS)
    training = training_of(log_, dataset, config)
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training)
    return model, dataset, training


def test_the_network_of_a_period_learns_and_is_read(
    fitted: tuple[Recurrent, Dataset, Training],
) -> None:
    model, dataset, _ = fitted
    fresh = model.fresh_network()
    for period in ("day", "week"):
        trained = model.network.coarse[period].cell.weight_hh_l0
        assert not torch.equal(trained, fresh.coarse[period].cell.weight_hh_l0)
    test = dataset.test
    test = test.take((test.labels >= 0) & (test.lengths > 0))
    found = {each.source: each for each in source_worth(model, test)}
    assert {"coarse_day", "coarse_week"} < set(found)
    for period in ("coarse_day", "coarse_week"):
        assert found[period].weight > 0
        assert found[period].change != 0
    reasons = explain(model, test.take(np.array([20])))
    assert {"coarse_day", "coarse_week"} < set(reasons.scales)
    assert sum(reasons.scales.values()) == pytest.approx(reasons.logit, abs=1e-4)


def test_later_events_move_no_weight_and_no_answer(
    fitted: tuple[Recurrent, Dataset, Training],
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
) -> None:
    model, dataset, _ = fitted
    log_ = toy_log().until(TRAIN_END)
    short = make_dataset(log_, TRAIN_END, VALID_END, True, True)
    again = Recurrent(model.config, synthetic.INPUTS)
    again.fit(training_of(log_, short, model.config))
    left, right = model.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert np.array_equal(again.predict_proba(short.train), model.predict_proba(dataset.train))


def test_answers_depend_on_no_batch_and_no_padding(
    fitted: tuple[Recurrent, Dataset, Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset, _ = fitted
    test = dataset.test
    whole = model.predict_proba(test)
    for row in (0, 7, len(test) - 1):
        alone = model.predict_proba(test.take(np.array([row])))
        assert alone[0] == pytest.approx(whole[row], abs=1e-6)
    monkeypatch.setattr("trainer.training._ROWS", 7)
    assert model.predict_proba(test) == pytest.approx(whole, abs=1e-6)
    rollups = model.tensors(test).rollups[0].batch(np.arange(len(test)))
    longer = np.pad(rollups.numbers, ((0, 0), (0, 5), (0, 0)), constant_values=3.0)
    encoder = model.network.coarse["day"]
    with torch.no_grad():
        states = [
            encoder.columns(replace(rollups, numbers=numbers), torch.device("cpu")).numpy()
            for numbers in (rollups.numbers, longer)
        ]
    assert states[0] == pytest.approx(states[1], abs=1e-6)


def test_served_exported_and_loaded_it_answers_the_same(
    fitted: tuple[Recurrent, Dataset, Training], tmp_path: Path
) -> None:
    model, dataset, _ = fitted
    folder = tmp_path / "models" / "one"
    folder.mkdir(parents=True)
    model.save(folder)
    test = dataset.test
    served = Served.load(folder)
    assert served.predict_proba(test) == pytest.approx(model.predict_proba(test), abs=1e-5)
    assert np.log1p(served.predict_next_time(test)) == pytest.approx(
        np.log1p(model.predict_next_time(test)), abs=1e-4
    )
    together = served.predict_all(test)
    assert np.array_equal(together.next_action, served.predict_proba(test))
    assert together.next_time is not None
    assert np.array_equal(together.next_time, served.predict_next_time(test))
    assert together.conversions is None
    assert served.logit_parts(test).shape[1] == len(served.sources)
    again = Recurrent.load(folder)
    assert np.array_equal(again.predict_proba(test), model.predict_proba(test))
    write_json(folder / "run.json", {})
    (folder.parent / "latest").symlink_to("one")
    target = export(tmp_path, None, tmp_path / "exported")
    example = json.loads((target / "example.json").read_text())
    network = OnnxNetwork(target, next_time=True, coarse=["day", "week"])
    given = {name: np.array(value, np.float32) for name, value in example["inputs"].items()}
    each = np.arange(3)
    batches = [
        RollupBatch(given[f"coarse_{period}"], each + 1, each, given[f"coarse_{period}_ages"])
        for period in ("day", "week")
    ]
    whole = network.whole_context(given["context"], batches)
    assert whole == pytest.approx(np.array(example["outputs"]["whole_context"]), abs=1e-5)


def test_without_a_period_nothing_changes(
    fitted: tuple[Recurrent, Dataset, Training],
) -> None:
    model, dataset, training = fitted
    encoder = model.config.encoder.model_copy(update={"coarse": []})
    plain = Recurrent(model.config.model_copy(update={"encoder": encoder}), synthetic.INPUTS)
    plain.fit(training)
    assert not [name for name in plain.network.state_dict() if "coarse" in name]
    tensors = plain.tensors(dataset.test)
    assert settled(plain.network, tensors) is tensors
