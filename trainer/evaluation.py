"""Evaluation: every model on the same rows, with the slices where models fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer import metrics
from trainer.bootstrap import with_uncertainty
from trainer.conversion_evaluation import (
    conversion_slices,
    conversion_task,
    evaluate_conversion,
)
from trainer.examples import Dataset, Examples
from trainer.instants import show_instant
from trainer.models.base import ConversionModel, Model, NextTimeModel
from trainer.ranking.evaluation import (
    RankedPart,
    RankingModel,
    evaluate_ranking,
    ranked_parts,
)
from trainer.slices import next_action_slices
from trainer.wait_evaluation import WAIT_TASK, evaluate_waits, wait_slices

TASK = "next_action"

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
        instants between events, ``next_action.active`` every instant of users with an event in
        the last 30 days and ``next_action.valid`` the validation part. A slice without rows is
        left out.
    """
    groups = judged_parts(dataset)
    return {model.name: evaluate_seeds([model], groups) for model in models}


@dataclass(frozen=True)
class JudgedPart:
    """Examples that models are judged on, and which of their rows are about what; # [rows]."""

    examples: Examples
    slices: dict[str, NDArray[np.bool_]]
    conversion_slices: list[dict[str, NDArray[np.bool_]]]  # one a horizon
    wait_slices: dict[str, NDArray[np.bool_]]
    ranked: list[RankedPart]  # one a target: item, category


def judged_parts(dataset: Dataset) -> list[JudgedPart]:
    """The test part with its slices, and the validation part, taken once for all models."""
    test, valid = dataset.test, dataset.valid
    horizons = dataset.taxonomy.horizons
    return [
        JudgedPart(
            test,
            next_action_slices(TASK, dataset, test),
            [conversion_slices(dataset, test, *each) for each in enumerate(horizons)],
            wait_slices(dataset, test),
            ranked_parts(dataset, "test"),
        ),
        JudgedPart(
            valid,
            {f"{TASK}.valid": (valid.labels >= 0) & ~valid.landmarks},
            [
                {f"{conversion_task(horizon)}.valid": ~np.isnan(valid.conversions[:, place])}
                for place, horizon in enumerate(horizons)
            ],
            {f"{WAIT_TASK}.valid": (valid.watched > 0) & ~valid.landmarks},
            ranked_parts(dataset, "valid"),
        ),
    ]


def evaluate_seeds(
    models: Sequence[Model], parts: Sequence[JudgedPart]
) -> dict[str, dict[str, float | None]]:
    """Metrics of one model, averaged over fits that differ in the seed alone.

    Parameters
    ----------
    models
        The fits; one where the model has no seed.
    parts
        What they are judged on.
    """
    answer: dict[str, dict[str, float | None]] = {}
    converting = [model for model in models if isinstance(model, ConversionModel)]
    timing = [model for model in models if isinstance(model, NextTimeModel)]
    for part in parts:
        if converting and converting[0].horizons:
            answer |= evaluate_conversion(converting, part.examples, part.conversion_slices)
        if timing and timing[0].predicts_next_time:
            answer |= evaluate_waits(timing, part.examples, part.wait_slices)
        ranking = [model for model in models if isinstance(model, RankingModel)]
        for ranked in part.ranked:
            if ranking and ranked.ranking.target in ranking[0].rankers:
                answer |= evaluate_ranking(ranking, ranked)
        # A sequence model may have been fitted on conversions alone.
        silent = any(not getattr(model, "predicts_next_action", True) for model in models)
        if silent or not any(rows.any() for rows in part.slices.values()):
            continue
        predictions = [model.predict_proba(part.examples) for model in models]
        for name, rows in part.slices.items():
            if rows.any():
                chosen = [probabilities[rows] for probabilities in predictions]
                labels, owners = part.examples.labels[rows], part.examples.owners[rows]
                answer[name] = score(chosen, labels, owners)
    return answer


def score(
    predictions: Sequence[NDArray], labels: NDArray, users: NDArray
) -> dict[str, float | None]:
    """Every metric of one set of rows, averaged over the predictions of several seeds.

    Parameters
    ----------
    predictions
        # [rows, states] each, one a seed
    labels, users
        # [rows]

    Returns
    -------
    metrics
        ``<metric>`` over the rows and ``user_<metric>`` over users, ``<metric>_low`` and
        ``_high`` from the bootstrap over users, and with several seeds ``log_loss_seed_std``.
    """
    losses = [metrics.row_log_loss(probabilities, labels) for probabilities in predictions]
    hits = [metrics.top_k_credit(probabilities, labels, 1) for probabilities in predictions]
    top_3 = [metrics.top_k_credit(probabilities, labels, 3) for probabilities in predictions]
    by_row = {
        "accuracy": np.mean(hits, axis=0),
        "log_loss": np.mean(losses, axis=0),
        "top_3": np.mean(top_3, axis=0),
    }
    values = {"rows": float(len(labels)), "users": float(len(np.unique(users)))}
    values |= {name: float(value.mean()) for name, value in by_row.items()}
    values["macro_recall"] = _mean_of(metrics.macro_recall, predictions, labels)
    values["ece"] = _mean_of(metrics.expected_calibration_error, predictions, labels)
    for name, value in by_row.items():
        values[f"user_{name}"] = metrics.user_average(value, users)
    return with_uncertainty(values, by_row, users, losses)


def _mean_of(
    metric: Callable[[NDArray, NDArray], float], predictions: Sequence[NDArray], labels: NDArray
) -> float:
    return float(np.mean([metric(probabilities, labels) for probabilities in predictions]))


def require_metrics(found: Metrics, wanted: Sequence[str], model: str) -> dict[str, float]:
    """The metrics that somebody asked for by name, of one model.

    Parameters
    ----------
    found
        What :func:`evaluate` returned.
    wanted
        ``log_loss``, which is that of the whole task, or ``next_action.landmarks:log_loss``.
    model
        Whose.

    Raises
    ------
    BadInput
        When one is missing or has no value: a job that waits for a metric must not pass without.
    """
    answer = {}
    for name in wanted:
        task, _, metric = name.rpartition(":")
        values = found[model].get(task or TASK)
        if values is None:
            raise BadInput(
                f"metric {name!r}: no rows of {task or TASK!r} were evaluated; "
                f"evaluated: {', '.join(found[model]) or 'nothing'}"
            )
        value = values.get(metric)
        if value is None:
            raise BadInput(
                f"metric {name!r} has no value for {model}; "
                f"those with one: {', '.join(k for k, v in values.items() if v is not None)}"
            )
        answer[name] = value
    return answer


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
