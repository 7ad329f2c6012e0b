"""Reasons: sums that are exact, completeness, and counterfactuals that are recomputed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic

from trainer.config import load_config
from trainer.examples import Dataset, Examples, unlabelled
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.reasons import explain
from trainer.sequences import Sequences

COLUMN_TYPES = {name: synthetic.ARROW[kind] for name, kind in synthetic.TYPES.items()}


@pytest.fixture(scope="module", params=["additive", "concat"])
def fitted(
    request: pytest.FixtureRequest,
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
) -> tuple[Recurrent, Dataset, synthetic.Log]:
    log = synthetic.order_two_log(users=60, events=40, seed=4)
    dataset = make_dataset(log, datetime(2024, 1, 20), datetime(2024, 1, 24), landmarks=True)
    keys = ("encoder.hidden=12", "encoder.layers=1", "epochs=8", "learning_rate=0.01")
    config = load_config(None, [*keys, f"fusion.kind={request.param}"])
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, config))
    return model, dataset, log


def rows(dataset: Dataset) -> list[Examples]:
    test = dataset.test
    long = np.flatnonzero(test.lengths > 5)
    return [test.take(long[[place]]) for place in (0, len(long) // 2, len(long) - 1)]


def test_scales_sum_exactly_to_the_logit(fitted: tuple[Recurrent, Dataset, synthetic.Log]) -> None:
    model, dataset, _ = fitted
    for example in rows(dataset):
        logits = {state: explain(model, example, state) for state in model.states}
        for reasons in logits.values():
            if model.config.fusion.kind != "additive":
                assert reasons.scales == {}  # no such sum, and none is made up
                continue
            assert sum(reasons.scales.values()) == pytest.approx(reasons.logit, abs=1e-5)
            assert {"prior", "sequence", "now", "calendar", "user_row"} <= set(reasons.scales)
        chances = model.predict_proba(example)[0]
        found = np.exp([reasons.logit for reasons in logits.values()])
        assert found / found.sum() == pytest.approx(chances, abs=1e-5)
        assert [reasons.probability for reasons in logits.values()] == pytest.approx(chances)


def test_events_account_for_the_logit(fitted: tuple[Recurrent, Dataset, synthetic.Log]) -> None:
    model, dataset, _ = fitted
    model.network.train()  # whatever mode it was left in, it is explained as it predicts
    for example in rows(dataset):
        reasons = explain(model, example)
        assert abs(reasons.gap) < 1e-3
        assert len(reasons.events) == min(example.lengths[0], 50)
        assert not model.network.training


def test_without_an_event_is_a_prediction_without_it(
    fitted: tuple[Recurrent, Dataset, synthetic.Log],
) -> None:
    """The same features, and the events but one: what the model says of them."""
    model, dataset, log = fitted
    for example in rows(dataset)[:2]:
        user, at = example.users[0], example.instants[0].item()
        reasons = explain(model, example, "a")
        events = [event for event in log.users[user] if event.at <= at][-50:]
        for event in reasons.events[:3] + reasons.events[-1:]:
            left = [e for n, e in enumerate(events) if n != len(events) - 1 - event.place]
            assert events[len(events) - 1 - event.place].action == event.action
            values = synthetic.features_at(log, [user], [at])
            short = synthetic.Log(log.actions, {user: left})
            arrays = synthetic.features_at(short, [user], [at])
            for name in values.column_names:
                if name.startswith("sequence_"):
                    place = values.column_names.index(name)
                    values = values.set_column(place, name, arrays[name])
            instants = np.repeat(example.instants[0], 1)
            sequences = Sequences.from_arrays(np.array([user], dtype=object), values)
            chances = model.predict_proba(unlabelled(sequences, instants, values, model.states))
            assert event.without == pytest.approx(chances[0, 0], abs=1e-5)


def test_what_the_last_two_events_say_is_what_matters(
    fitted: tuple[Recurrent, Dataset, synthetic.Log],
) -> None:
    """The law looks back two events and no further."""
    model, dataset, _ = fitted
    test = dataset.test
    chosen = np.flatnonzero((test.lengths > 10) & ~test.landmarks)[:25]
    sizes = []
    for row in chosen:
        reasons = explain(model, test.take(np.array([row])), "a")
        sizes.append([abs(event.contribution) for event in reasons.events[:8]])
    recent, older = np.mean(sizes, axis=0)[:2], np.mean(sizes, axis=0)[3:]
    assert recent.min() > 1.3 * older.mean()


def chance_without(model: Recurrent, example: Examples, values: dict, after: list[int]) -> float:
    """Chance of the first state with some counts out of the current state at 0."""
    counts = np.array(values["transition_counts_all"]).reshape(3, 3)
    counts[example.states[0], after] = 0
    changed = values | {"transition_counts_all": counts.reshape(-1).tolist()}
    table = pa.table({name: pa.array([changed[name]], kind) for name, kind in COLUMN_TYPES.items()})
    sequences = Sequences.from_arrays(example.users, table)
    asked = unlabelled(sequences, example.instants, table, model.states)
    return float(model.predict_proba(asked)[0, 0])


def test_without_a_transition_is_a_prediction_without_it(
    fitted: tuple[Recurrent, Dataset, synthetic.Log],
) -> None:
    """The same events and features, and a matrix of transitions that lacks what was left out."""
    model, dataset, log = fitted
    for example in rows(dataset)[:2]:
        user, at = example.users[0], example.instants[0].item()
        reasons = explain(model, example, "a")
        values = synthetic.values_at(log, user, at)
        state = values["last_action_type"] if values["session_is_open"] else "leave"
        counts = np.array(values["transition_counts_all"]).reshape(3, 3)
        place = model.states.index(state)
        found = {reason.after: reason.count for reason in reasons.transitions}
        assert found == {s: n for s, n in zip(model.states, counts[place], strict=True) if n}
        assert {reason.before for reason in reasons.transitions} == {state}
        sizes = [abs(reason.contribution) for reason in reasons.transitions]
        assert sizes == sorted(sizes, reverse=True)

        whole = chance_without(model, example, values, [])
        assert reasons.probability == pytest.approx(whole, abs=1e-6)
        for reason in reasons.transitions:
            after = model.states.index(reason.after)
            without = chance_without(model, example, values, [after])
            assert reason.without == pytest.approx(without, abs=1e-6)
        alone = chance_without(model, example, values, [0, 1, 2])
        assert reasons.without_own_row == pytest.approx(alone, abs=1e-6)
        # Of two that stay, one counts for its state and against the others.
        for reason in reasons.transitions:
            assert (reason.contribution > 0) == (reason.after == "a")


def test_without_his_own_row_there_are_no_transitions(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]
) -> None:
    log = synthetic.order_two_log(users=12, events=12, seed=4)
    dataset = make_dataset(log, datetime(2024, 1, 20), datetime(2024, 1, 24))
    keys = ("encoder.hidden=4", "encoder.layers=1", "epochs=1", "features.user_row=false")
    config = load_config(None, keys)
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, config))
    reasons = explain(model, rows(dataset)[0])
    assert (reasons.transitions, reasons.without_own_row) == ((), None)
