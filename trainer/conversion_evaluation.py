"""Evaluation of conversion within each horizon: ranking, probabilities and calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer import metrics
from trainer.bootstrap import with_uncertainty
from trainer.examples import Dataset, Examples
from trainer.models.base import ConversionModel
from trainer.slices import Rows, active_rows

Values = dict[str, dict[str, float | None]]


_PREFIX = "conversion_"


def conversion_task(horizon: str) -> str:
    """Name of the task in ``metrics.json``."""
    return f"{_PREFIX}{horizon}"


def is_conversion_task(name: str) -> bool:
    """Whether a task of ``metrics.json`` is that of a horizon, and no slice of one."""
    return name.startswith(_PREFIX) and "." not in name


def conversion_slices(
    dataset: Dataset, test: Examples, place: int, horizon: str
) -> dict[str, Rows]:
    """Rows of the test part by slice.

    Notes
    -----
    Over all landmarks a score mostly says who is still alive: event instants and active users are
    apart.
    """
    task = conversion_task(horizon)
    known = ~np.isnan(test.conversions[:, place])
    seen = np.isin(test.owners, dataset.train.owners)
    return {
        task: known,
        f"{task}.events": known & ~test.landmarks,
        f"{task}.landmarks": known & test.landmarks,
        f"{task}.active": known & active_rows(test),
        f"{task}.cold_users": known & ~seen,
    }


def evaluate_conversion(
    models: Sequence[ConversionModel], examples: Examples, slices: Sequence[dict[str, Rows]]
) -> Values:
    """Metrics of one model at every horizon, averaged over the seeds of its fits.

    Parameters
    ----------
    models
        The fits.
    examples
        A part of the split.
    slices
        Rows by task, one of these a horizon.
    """
    answer: Values = {}
    if not any(rows.any() for by_task in slices for rows in by_task.values()):
        return answer
    predictions = [model.predict_conversion(examples) for model in models]
    for place, by_task in enumerate(slices):
        for name, rows in by_task.items():
            if rows.any():
                chosen = [probabilities[rows, place] for probabilities in predictions]
                labels = examples.conversions[rows, place]
                answer[name] = score_conversion(chosen, labels, examples.owners[rows])
    return answer


def score_conversion(
    predictions: Sequence[NDArray], labels: NDArray, users: NDArray
) -> dict[str, float | None]:
    """Every metric of one set of rows, averaged over the predictions of several seeds.

    Parameters
    ----------
    predictions
        # [rows] each, one a seed
    labels, users
        # [rows]
    """

    def mean(metric: object) -> float:
        assert callable(metric)
        return float(np.mean([metric(probabilities, labels) for probabilities in predictions]))

    losses = [metrics.binary_log_loss(probabilities, labels) for probabilities in predictions]
    by_row = {
        "log_loss": np.mean(losses, axis=0),
        "brier": np.mean([(p - labels) ** 2 for p in predictions], axis=0),
    }
    values = {
        "rows": float(len(labels)),
        "users": float(len(np.unique(users))),
        "base": float(labels.mean()),
        "roc_auc": mean(metrics.roc_auc),
        "average_precision": mean(metrics.average_precision),
        **{name: float(value.mean()) for name, value in by_row.items()},
        "ece": mean(metrics.binary_calibration_error),
        "lift_10": mean(metrics.lift),
    }
    return with_uncertainty(values, by_row, users, losses)
