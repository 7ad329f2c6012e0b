"""The user's own transition row: by hand, and on a log whose users differ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic

from trainer.config import load_config
from trainer.context import population_rows
from trainer.examples import Dataset, unlabelled
from trainer.models.base import Training
from trainer.models.markov import Markov
from trainer.models.user_row import UserRow
from trainer.sequences import Sequences
from trainer.user_rows import UserRows, backed_off, own_counts, without_leave_twice


def test_backing_off_by_hand() -> None:
    base = np.array([0.5, 0.3, 0.2])
    found = backed_off(np.array([[3, 1, 0], [0, 0, 0]]), base, 4.0)
    assert found[0] == pytest.approx([(3 + 2) / 8, (1 + 1.2) / 8, 0.8 / 8])
    assert found[1] == pytest.approx(base)  # without transitions, the population's row


def test_nobody_leaves_twice() -> None:
    rows = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    found = without_leave_twice(rows, np.array([2, 0, -1]))
    assert found[0] == pytest.approx([5 / 8, 3 / 8, 0])
    assert (found[1:] == rows[1:]).all()


def test_own_counts_are_the_current_state_s_row() -> None:
    """`a` was followed by `a`, `b` and a leave; who has left came back once with `a`."""
    at = datetime(2024, 1, 1)
    minute = synthetic.timedelta(minutes=1)
    events = [(0, "a"), (1, "a"), (2, "b"), (60, "a"), (61, "a")]
    log = synthetic.Log(("a", "b"), {"u": [synthetic.Event(at + n * minute, x) for n, x in events]})
    users = ["u", "u", "nobody"]
    instants = [at + 61 * minute, at + 200 * minute, at]
    table = synthetic.features_at(log, users, instants)
    examples = unlabelled(
        Sequences.from_arrays(np.array(users, dtype=object), table),
        np.array(instants, dtype="datetime64[us]"),
        table,
        log.states,
    )
    assert examples.states.tolist() == [0, 2, -1]
    # After `a`: `a`, `b`, then `a` again. After leave: `a`.
    assert own_counts(examples, 3).tolist() == [[2, 1, 0], [1, 0, 0], [0, 0, 0]]
    rows = UserRows(np.array([[0.2, 0.2, 0.6]] * 3 + [[0.4, 0.4, 0.2]]), strength=2.0)
    assert rows.probabilities(examples) == pytest.approx(
        np.array([[2.4 / 5, 1.4 / 5, 1.2 / 5], [1.4 / 1.8, 0.4 / 1.8, 0], [0.4, 0.4, 0.2]])
    )
    shuffled = examples.take(np.array([2, 1, 0]))
    assert own_counts(shuffled, 3).tolist() == [[0, 0, 0], [1, 0, 0], [2, 1, 0]]


def test_null_rows_in_a_chunked_column_are_nobody_s() -> None:
    """A store answers in chunks, and a filter must not shift one user's counts to another."""
    at = np.repeat(np.datetime64("2024-01-01", "us"), 3)
    counts = pa.chunked_array([[[1, 2, 3, 4]], [None, [5, 6, 7, 8]]], pa.list_(pa.int64()))
    table = pa.table(
        {
            "transition_counts_all": counts,
            "last_action_type": ["a", None, "a"],
            "session_is_open": [False, None, True],
            **{
                name: pa.array([None] * 3, synthetic.ARROW[kind])
                for name, kind in synthetic.TYPES.items()
                if name.startswith("sequence_")
            },
        }
    )
    examples = unlabelled(
        Sequences.from_arrays(np.array(list("xyz"), dtype=object), table), at, table, ("a", "leave")
    )
    assert own_counts(examples, 2).tolist() == [[3, 4], [0, 0], [5, 6]]


@pytest.fixture(scope="module")
def habits() -> synthetic.Log:
    """Half the users repeat themselves, half alternate, with .9: everyone's row says neither."""
    random = np.random.default_rng(0)
    log = synthetic.Log(("a", "b"))
    for number in range(60):
        at = synthetic.START + synthetic.timedelta(hours=float(random.uniform(0, 24 * 25)))
        alternates, place = number % 2, 0
        history = []
        for _ in range(40):
            history.append(synthetic.Event(at, "ab"[place]))
            place ^= alternates ^ (random.random() < 0.1)
            at += synthetic.timedelta(seconds=float(random.uniform(10, 600)))
        log.users[f"u{number:02d}"] = history
    return log


def test_the_user_s_habit_beats_the_population(
    habits: synthetic.Log,
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
) -> None:
    dataset = make_dataset(habits, datetime(2024, 1, 20), datetime(2024, 1, 22))
    training = training_of(habits, dataset, load_config(None))
    own, population = UserRow(), Markov()
    for model in (own, population):
        model.fit(training)
    test = dataset.test
    assert len(test) > 300

    def loss(model: UserRow | Markov) -> float:
        return float(-np.log(model.predict_proba(test)[np.arange(len(test)), test.labels]).mean())

    assert loss(population) > 0.65  # ln 2 = .693, less what `leave` gives away
    assert loss(own) < 0.57  # the law itself has .325, and a habit must be seen before it is known
    assert own.rows is not None
    assert own.rows.strength < 50  # habits are worth believing soon
    assert own.rows.population[:3] == pytest.approx(population_rows(training)[:3])
