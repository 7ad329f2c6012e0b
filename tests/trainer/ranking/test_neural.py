"""The option of tied embeddings: a share of the score, and still a probability."""

from __future__ import annotations

import numpy as np
import pytest
from ranking_logs import Given

from trainer.config import load_config
from trainer.ranking import neural_training
from trainer.ranking.fitting import fit_mixture
from trainer.ranking.neural_training import train_embeddings
from trainer.ranking.rankers import Mixture
from trainer.training import reproducible


def test_embeddings_are_mixed_in_and_parts_still_sum(
    habits: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, training = habits
    (given, _) = training.rankings
    rows = dataset.rankings["item"].test.take(np.arange(30))
    config = load_config(None, ["ranking.neural=true", "ranking.epochs=2", "ranking.width=8"])
    with reproducible(0, 1):
        gate = fit_mixture(given, config).gate
        neural = train_embeddings(given.rows, given.stop, 0, 8, 2)
        monkeypatch.setattr(neural_training, "MOST_IN_FULL", 5)
        sampled = train_embeddings(given.rows, given.stop, 0, 8, 2)  # over so many values, sampled
    assert neural is not None and sampled is not None
    for embeddings in (neural, sampled):
        mixture = Mixture(gate, embeddings, 0.3)
        own = np.zeros(len(rows))
        for chosen, scores in mixture.scores(rows):
            assert scores.sum(axis=1) == pytest.approx(np.ones(len(chosen)))
            own[chosen] = scores[np.arange(len(chosen)), rows.targets[chosen]]
        parts = mixture.parts_of_targets(rows)
        assert parts["neural"].max() > 0
        assert sum(parts.values()) == pytest.approx(own, abs=1e-12)
        again = Mixture.from_json(mixture.to_json())
        for (_, one), (_, other) in zip(mixture.scores(rows), again.scores(rows), strict=True):
            assert np.array_equal(one, other)
