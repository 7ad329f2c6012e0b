"""Metrics of a ranking, by hand: ties, unknown targets, what nobody can reach."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.ranking.metrics import (
    CUTOFFS,
    Coverage,
    all_metrics,
    discounted_gain,
    hit_rate,
    ranks,
    reciprocal_rank,
)


def test_by_hand() -> None:
    scores = np.array([[0.5, 0.3, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    # The second row's catalogue ends before its target; the third has none.
    found = ranks(scores, np.array([2, 3, -1]), np.array([4, 3, 4]))
    assert found.higher.tolist() == [1, 0, 0]
    assert found.tied.tolist() == [2, 0, 0]
    assert hit_rate(found, 1).tolist() == [0, 0, 0]
    assert hit_rate(found, 2).tolist() == [0.5, 0, 0]
    assert reciprocal_rank(found, 20).tolist() == pytest.approx([(1 / 2 + 1 / 3) / 2, 0, 0])
    gain = (1 / np.log2(3) + 1 / np.log2(4)) / 2
    assert discounted_gain(found, 5).tolist() == pytest.approx([gain, 0, 0])


@pytest.mark.parametrize("values", [3, 20, 57])
def test_a_constant_score_gets_exactly_what_chance_gets(values: int) -> None:
    random = np.random.default_rng(values)
    targets, known = random.integers(values, size=50), np.full(50, values)
    found = all_metrics(ranks(np.ones((50, values)), targets, known))
    for k in CUTOFFS:
        places = np.arange(1, min(k, values) + 1)
        assert found[f"hr_{k}"] == pytest.approx(np.full(50, min(k / values, 1.0)), abs=1e-12)
        assert found[f"mrr_{k}"] == pytest.approx(np.full(50, (1 / places).sum() / values))
        gains = (1 / np.log2(places + 1)).sum() / values
        assert found[f"ndcg_{k}"] == pytest.approx(np.full(50, gains))
    coverage = Coverage(values)
    coverage.add(np.ones((2, values)), known[:2])
    for k in CUTOFFS:
        chance = min(k / values, 1.0)
        assert coverage.shares(values)[f"coverage_{k}"] == pytest.approx(1 - (1 - chance) ** 2)


def test_permuting_the_candidates_changes_nothing() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(4, size=(30, 25)).astype(float)  # ties everywhere
    targets, known = random.integers(25, size=30), np.full(30, 25)
    order = random.permutation(25)
    back = np.argsort(order)
    one = all_metrics(ranks(scores, targets, known))
    other = all_metrics(ranks(scores[:, order], back[targets], known))
    covered, moved = Coverage(25), Coverage(25)
    covered.add(scores, known)
    moved.add(scores[:, order], known)
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name
    assert covered.shares(25) == pytest.approx(moved.shares(25))


def test_coverage_by_hand() -> None:
    coverage = Coverage(30)
    scores = np.tile(np.arange(30.0), (2, 1))
    scores[1, 0] = 99.0
    coverage.add(scores, np.array([30, 30]))
    # The first row shows 25 to 29 of 5, the second 0 and 26 to 29.
    assert coverage.shares(30)["coverage_5"] == pytest.approx(6 / 30)
    coverage.add(scores[:1], np.array([10]))  # a catalogue of ten shows 5 to 9
    assert coverage.shares(30)["coverage_5"] == pytest.approx(11 / 30)
