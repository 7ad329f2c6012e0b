"""Bins of numbers and texts, and which rows of a user are compared."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic
from steady_log import steady_log

from trainer.features import Feature
from trainer.monitoring.bins import Bins, Column, feature_columns
from trainer.monitoring.performance import clustered_mean
from trainer.monitoring.rows import Periods, newcomers, one_a_user

NAN = float("nan")
DAY = np.timedelta64(24 * 3600 * 1_000_000, "us")


def numbers(*values: float) -> Column:
    return Column("n", "7d", np.array(values, dtype=np.float64))


def test_null_and_zero_have_bins_of_their_own() -> None:
    bins = Bins.fit(numbers(NAN, 0, 0, 0, 1, 2, 3, 4), bins=2)
    assert (bins.edges, bins.zero, len(bins)) == ((2.0,), True, 4)
    # null, zero, up to 2, beyond; what lies outside of the reference falls into the outer ones
    asked = numbers(NAN, 0, -5, 1, 2, 2.5, 99)
    assert bins.count(asked).tolist() == [[1, 1, 3, 2]]
    assert Bins.from_json(bins.to_json()) == bins


def test_ties_are_not_cut_in_two() -> None:
    bins = Bins.fit(numbers(1, 1, 1, 1, 1, 1, 1, 2), bins=4)
    assert bins.edges == (1.0,)
    assert bins.count(numbers(1, 1, 2, 3)).tolist() == [[0, 2, 2]]
    assert Bins.fit(numbers(5, 5, 5), bins=4).edges == ()
    assert len(Bins.fit(numbers(NAN, NAN), bins=4)) == 2


def test_a_text_that_is_new_is_none_of_the_frequent_ones() -> None:
    column = Column("t", "now", pa.array(["a", "b", "a", None]))
    bins = Bins.fit(column, bins=10)
    assert bins.words == ("a", "b")
    asked = Column("t", "now", pa.array([None, "c", "a", "b", "b"]))
    assert bins.count(asked).tolist() == [[1, 1, 1, 2]]


def test_counts_by_period() -> None:
    bins = Bins.fit(numbers(1, 2, 3, 4), bins=2)
    found = bins.count(numbers(1, 4, 4, NAN), np.array([0, 0, 2, 2]), 3)
    assert found.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 1]]


def test_each_element_of_an_array_is_a_column() -> None:
    features = (
        Feature("v", "next_probabilities_7d", "DOUBLE[]", "f", "7d"),
        Feature("v", "last_action_type", "VARCHAR"),
        Feature("v", "transition_counts_all", "BIGINT[]", "f", "all"),
        Feature("v", "last_action_at", "TIMESTAMP"),
    )
    at = np.array(["2024-01-02T00:00:10", "2024-01-02"], dtype="datetime64[us]")
    table = pa.table(
        {
            "next_probabilities_7d": pa.array([[0.25, 0.75], None], pa.list_(pa.float64())),
            "last_action_type": ["a", None],
            "transition_counts_all": pa.array([[1], [2]], pa.list_(pa.int64())),
            "last_action_at": pa.array([at[0] - np.timedelta64(10, "s"), None], pa.timestamp("us")),
        }
    )
    found = {each.name: each for each in feature_columns(features, table, at)}
    assert list(found) == [
        *("next_probabilities_7d[0]", "next_probabilities_7d[1]"),
        *("last_action_type", "last_action_at"),
    ]
    assert found["next_probabilities_7d[1]"].group == "7d"
    assert found["last_action_at"].group == "now"
    values = found["next_probabilities_7d[1]"].values
    assert values[0] == pytest.approx(np.log1p(0.75)) and np.isnan(values[1])
    assert found["last_action_at"].values[0] == pytest.approx(np.log1p(10_000))


def test_one_row_a_user_and_period(make_dataset: object) -> None:
    log = steady_log(0, users=40)
    end = synthetic.START.replace(month=2)
    examples = make_dataset(log, end, end.replace(day=8)).train  # type: ignore[operator]
    periods = Periods.before(np.datetime64(end, "us"), examples.instants.min(), 7 * DAY)
    rows = one_a_user(examples, periods)
    number = periods.of(examples.instants)
    wanted = {(int(p), int(o)) for p, o in zip(number, examples.owners, strict=True) if p >= 0}
    found = [(int(number[r]), int(examples.owners[r])) for r in rows]
    assert len(found) == len(set(found)) and set(found) == wanted
    # The same rows in any order, and not always the last one of the period.
    order = np.random.default_rng(0).permutation(len(examples))
    shuffled = examples.take(order)
    again = one_a_user(shuffled, periods)
    assert set(order[again].tolist()) == set(rows.tolist())
    last = {
        key: examples.instants[[k == key for k in zip(number, examples.owners, strict=True)]].max()
        for key in found
    }
    late = np.mean([examples.instants[r] == last[key] for r, key in zip(rows, found, strict=True)])
    assert 0.1 < late < 0.7


def test_who_is_new_since_an_instant(make_dataset: object) -> None:
    log = steady_log(1, users=40)
    end = synthetic.START.replace(month=2)
    examples = make_dataset(log, end, end.replace(day=8)).train  # type: ignore[operator]
    since = np.datetime64("2024-01-10", "us")
    new = newcomers(examples, np.repeat(since, len(examples)))
    first = {user: events[0].at for user, events in log.users.items()}
    assert new.tolist() == [np.datetime64(first[user]) > since for user in examples.users]
    assert 0 < new.sum() < len(new)


def test_an_error_counts_users_and_not_rows() -> None:
    # Users' means 1, 3 and 5 with two rows each: deviation 2, error 2 / sqrt(3).
    values = np.array([1.0, 1, 3, 3, 5, 5])
    mean, error = clustered_mean(values, np.array([0, 0, 1, 1, 2, 2]))
    assert (mean, error) == pytest.approx((3, 2 / np.sqrt(3)))
    assert clustered_mean(values, np.zeros(6)) == (3, float("inf"))
