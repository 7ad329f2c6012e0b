"""The article's bare log: three columns, and a transition matrix that has to come back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer_runner import Trainer

STATES = ["browse", "search", "purchase", "leave"]
MATRIX = np.array([[0.6, 0.2, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])


@pytest.fixture(scope="module")
def home(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("article") / "home"
    finished = trainer(folder, "demo", "--dataset", "data/article.yml", "epochs=3")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder


def test_the_matrix_comes_back(home: Path) -> None:
    """Every cell within 4 standard errors of the planted probability."""
    from trainer.runs import load_run

    (_, markov) = load_run(home).baselines
    counts = np.asarray(markov.counts)[:3]
    totals = counts.sum(axis=1, keepdims=True)
    errors = np.sqrt(MATRIX * (1 - MATRIX) / totals)
    assert totals.min() > 400
    assert (np.abs(counts / totals - MATRIX) < 4 * errors).all()
    # What it predicts from browse is that row, smoothed by one pseudo-count.
    assert markov.matrix[0] == pytest.approx(MATRIX[0], abs=0.04)


def test_nobody_leaves_twice(home: Path) -> None:
    from trainer.runs import load_run

    (_, markov) = load_run(home).baselines
    assert markov.counts[3][3] == 0
    assert sum(markov.counts[3]) > 300


def test_evaluate_prints_metrics_and_a_sample_by_name(home: Path, trainer: Trainer) -> None:
    shown = trainer(home, "evaluate", "--dataset", "data/article.yml", "--sample", "8")
    assert shown.returncode == 0, shown.stderr
    for word in ("accuracy", "log-loss", "predicted", "actual", "browse"):
        assert word in shown.stdout
    content = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    assert set(content) == {"marginal", "markov_1", "lstm"}
    # The process has order 1: the chain is the truth, and no model can beat it by much.
    chain = content["markov_1"]["next_action"]["log_loss"]
    assert chain < content["marginal"]["next_action"]["log_loss"]
    assert content["lstm"]["next_action"]["log_loss"] > chain - 0.02
