"""Reliability, by hand and against the calibration errors of the metrics."""

from __future__ import annotations

import numpy as np
import pytest

from trainer import metrics
from trainer.reliability import reliability, top_reliability


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
