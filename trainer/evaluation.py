"""Evaluation: every model on the same rows, with the slices where models fail."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer import metrics
from trainer.examples import Dataset, Examples
from trainer.instants import show_instant
from trainer.models.base import Model

TASK = "next_action"
SHORT_HISTORY = 5  # fewer events than this say little about a user

Metrics = dict[str, dict[str, dict[str, float | None]]]


def evaluate(models: Iterable[Model], dataset: Dataset) -> Metrics:
    """Metrics of every model on the test part and on its slices.

    Parameters
    ----------
    models
        Fitted models.
    dataset
        Examples with their parts.

    Returns
    -------
    metrics
        ``{model: {task: {metric: value}}}``. The task ``next_action`` is the whole test part at
        event instants; ``next_action.<slice>`` are parts of it, ``next_action.landmarks`` the
        instants between events and ``next_action.valid`` the validation part. A slice without
        rows is left out.
    """
    groups = [(dataset.test, test_slices(dataset)), (dataset.valid, valid_slices(dataset))]
    answer: Metrics = {}
    for model in models:
        answer[model.name] = {}
        for examples, slices in groups:
            if not any(rows.any() for rows in slices.values()):
                continue
            probabilities = model.predict_proba(examples)
            for name, rows in slices.items():
                if rows.any():
                    answer[model.name][name] = score(
                        probabilities[rows], examples.labels[rows], examples.owners[rows]
                    )
    return answer


def test_slices(dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Rows of the test part that each task of the table is about."""
    test = dataset.test
    at_events = ~test.landmarks
    seen = np.isin(test.owners, dataset.train.owners)
    short = test.lengths < SHORT_HISTORY
    return {
        TASK: at_events,
        f"{TASK}.seen_users": at_events & seen,
        f"{TASK}.cold_users": at_events & ~seen,
        f"{TASK}.short_histories": at_events & short,
        f"{TASK}.landmarks": test.landmarks,
    }


def valid_slices(dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Rows of the validation part that are reported."""
    return {f"{TASK}.valid": ~dataset.valid.landmarks}


def score(probabilities: NDArray, labels: NDArray, users: NDArray) -> dict[str, float | None]:
    """Every metric of one set of rows.

    Parameters
    ----------
    probabilities
        # [rows, states]
    labels, users
        # [rows]
    """
    losses = metrics.row_log_loss(probabilities, labels)
    values = {
        "rows": float(len(labels)),
        "users": float(len(np.unique(users))),
        "accuracy": metrics.accuracy(probabilities, labels),
        "macro_recall": metrics.macro_recall(probabilities, labels),
        "log_loss": float(losses.mean()),
        "top_3": metrics.top_k_accuracy(probabilities, labels, 3),
        "ece": metrics.expected_calibration_error(probabilities, labels),
        "user_accuracy": metrics.user_average(
            metrics.top_k_credit(probabilities, labels, 1), users
        ),
        "user_log_loss": metrics.user_average(losses, users),
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True)
class SampleRow:
    """One prediction beside what happened, by name."""

    user: str
    instant: str
    state: str
    predicted: str
    predicted_probability: float
    actual: str
    actual_probability: float


def sample(
    model: Model, examples: Examples, states: Sequence[str], rows: int, seed: int = 0
) -> list[SampleRow]:
    """A few random predictions beside the actual next states, in order of time."""
    if len(examples) == 0:
        return []
    random = np.random.default_rng(seed)
    chosen = random.choice(len(examples), size=min(rows, len(examples)), replace=False)
    chosen = chosen[np.argsort(examples.instants[chosen], kind="stable")]
    picked = examples.take(chosen)
    probabilities = model.predict_proba(picked)
    best = probabilities.argmax(axis=1)
    return [
        SampleRow(
            user=str(picked.users[row]),
            instant=show_instant(picked.instants[row]),
            state=states[picked.states[row]],
            predicted=states[best[row]],
            predicted_probability=float(probabilities[row, best[row]]),
            actual=states[picked.labels[row]],
            actual_probability=float(probabilities[row, picked.labels[row]]),
        )
        for row in range(len(picked))
    ]
