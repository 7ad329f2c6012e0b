"""Reliability, by hand and against the calibration errors of the metrics."""

from __future__ import annotations

import numpy as np
import pytest

from trainer import metrics
from trainer.reliability import quantile_reliability, reliability, top_reliability


def test_bins_by_hand() -> None:
    chances = np.array([0.04, 0.06, 0.55, 0.59, 0.51, 1.0])
    truths = np.array([0, 1, 1, 1, 0, 1])
    found = reliability(chances, truths, np.arange(6), bins=10)
    assert found.rows.tolist() == [2, 3, 1]  # a certain row is in the last bin
    assert found.said == pytest.approx([0.05, 0.55, 1.0])
    assert found.happened == pytest.approx([0.5, 2 / 3, 1.0])
    assert found.error == pytest.approx((2 * 0.45 + 3 * (2 / 3 - 0.55) + 0) / 6)
    assert (found.low <= found.happened).all()
    assert (found.high >= found.happened).all()
    # One user has no spread.
    alone = reliability(chances, truths, np.zeros(6), bins=10)
    assert alone.low == pytest.approx(alone.happened)


def test_its_error_is_that_of_the_metrics() -> None:
    random = np.random.default_rng(3)
    chances, users = random.random(500), random.integers(0, 40, 500)
    truths = (random.random(500) < chances**2).astype(float)
    error = reliability(chances, truths, users).error
    assert error == pytest.approx(metrics.binary_calibration_error(chances, truths))
    probabilities = random.dirichlet(np.ones(4), 500)
    labels = random.integers(0, 4, 500)
    error = top_reliability(probabilities, labels, users).error
    assert error == pytest.approx(metrics.expected_calibration_error(probabilities, labels))


def test_quantiles_are_counted_where_they_were_watched() -> None:
    # Four rows, all said to be over by 10 s with .5 and by 100 s with .9. One wait of 5 s, one of
    # 50, one of 500; the last was watched for 60 s and had not ended: nothing is known of its .9.
    quantiles = np.tile([10.0, 100.0], (4, 1))
    waits, watched = np.array([5.0, 50.0, 500.0, 60.0]), np.array([1000.0, 1000.0, 1000.0, 60.0])
    found = quantile_reliability(quantiles, waits, watched, np.arange(4), (0.5, 0.9))
    assert found.said.tolist() == [0.5, 0.9]
    assert found.happened == pytest.approx([1 / 4, 2 / 3])
    assert found.rows.tolist() == [4, 3]
    none = quantile_reliability(quantiles, waits, np.ones(4), np.arange(4), (0.5, 0.9))
    assert none.said.tolist() == []
