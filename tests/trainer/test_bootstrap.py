"""User bootstrap: against closed forms, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.bootstrap import user_intervals


def test_one_user_has_no_spread() -> None:
    assert user_intervals({"x": np.array([0.0, 1.0, 1.0])}, np.zeros(3)) == {
        "x": (pytest.approx(2 / 3), pytest.approx(2 / 3))
    }


def test_the_interval_of_independent_users_is_the_textbook_s() -> None:
    values = np.random.default_rng(3).normal(size=2000)
    ((low, high),) = user_intervals({"x": values}, np.arange(2000)).values()
    error = values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_rows_of_one_user_are_not_independent_draws() -> None:
    """The same 200 values once, and each ten times by its own user: the same interval."""
    values, users = np.random.default_rng(4).normal(size=200), np.arange(200)
    once = user_intervals({"x": values}, users)["x"]
    assert user_intervals({"x": np.repeat(values, 10)}, np.repeat(users, 10))["x"] == (
        pytest.approx(once)
    )


def test_the_order_of_rows_and_the_names_of_users_are_nothing() -> None:
    random = np.random.default_rng(5)
    values, users = random.normal(size=300), random.integers(0, 40, 300)
    order = random.permutation(300)
    names = np.char.add("u", np.char.zfill(users.astype(str), 3)).astype(object)
    assert user_intervals({"x": values}, users)["x"] == pytest.approx(
        user_intervals({"x": values[order]}, names[order])["x"]
    )
