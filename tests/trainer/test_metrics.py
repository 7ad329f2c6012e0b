"""Metrics against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainer import metrics

P = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
Y = np.array([0, 1, 1, 2])


def test_accuracy_and_top_k() -> None:
    assert metrics.accuracy(P, Y) == 0.5
    assert metrics.top_k_accuracy(P, Y, 2) == 1.0
    assert metrics.top_k_accuracy(P, Y, 3) == 1.0


def test_log_loss_is_the_mean_surprise_in_nats() -> None:
    expected = -(np.log(0.7) + np.log(0.3) + np.log(0.6) + np.log(0.3)) / 4
    assert metrics.log_loss(P, Y) == pytest.approx(expected, abs=1e-15)


def test_an_impossible_label_costs_much_but_not_infinity() -> None:
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(27.63, abs=0.01)


def test_macro_recall_leaves_out_states_that_do_not_occur() -> None:
    assert metrics.macro_recall(P, Y) == pytest.approx((1 + 0.5 + 0) / 3)
    # State 2 never occurs: the mean is over the other two.
    assert metrics.macro_recall(P[:3], Y[:3]) == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize("states", [2, 5, 7])
def test_constant_scores_get_exactly_k_of_v(states: int) -> None:
    constant = np.full((35, states), 1 / states)
    labels = np.arange(35) % states
    for k in range(1, states + 1):
        assert metrics.top_k_accuracy(constant, labels, k) == pytest.approx(k / states, abs=1e-12)
    permuted = np.random.default_rng(0).permutation(states)
    assert metrics.accuracy(constant[:, permuted], labels) == metrics.accuracy(constant, labels)


def test_the_order_of_the_states_changes_nothing() -> None:
    random = np.random.default_rng(2)
    scores = random.dirichlet(np.ones(6), 80).round(2)  # with ties
    labels = random.integers(0, 6, 80)
    order = random.permutation(6)
    moved, named = scores[:, order], np.argsort(order)[labels]
    for k in (1, 3, 5):
        credit = metrics.top_k_credit(scores, labels, k)
        assert (metrics.top_k_credit(moved, named, k) == credit).all()
    for metric in (
        metrics.log_loss,
        metrics.macro_recall,
        metrics.expected_calibration_error,
    ):
        assert metric(moved, named) == pytest.approx(metric(scores, labels), abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # Two bins hold rows: confidence .7 with half right, confidence .95 with all right.
    probabilities = np.array([[0.7, 0.3], [0.7, 0.3], [0.95, 0.05], [0.05, 0.95]])
    labels = np.array([0, 1, 0, 1])
    error = metrics.expected_calibration_error(probabilities, labels, bins=10)
    assert error == pytest.approx((2 * abs(0.7 - 0.5) + 2 * abs(0.95 - 1.0)) / 4)


def test_auc_counts_ties_by_half() -> None:
    assert metrics.roc_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])) == 0.875
    assert metrics.roc_auc(np.ones(6), np.array([0, 1, 0, 1, 1, 0])) == 0.5
    assert np.isnan(metrics.roc_auc(np.ones(2), np.array([1, 1])))


def test_user_average_weighs_users_and_not_rows() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    assert metrics.user_average(values, np.array(["busy", "busy", "busy", "rare"])) == 0.5
