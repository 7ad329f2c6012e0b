"""Evaluation of the time to the next event: how far off its quantiles are, and how often right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.bootstrap import with_uncertainty
from trainer.examples import Dataset, Examples
from trainer.models.base import NextTimeModel
from trainer.slices import Rows, active_rows
from trainer.waits import interval_hits, pinball_loss

WAIT_TASK = "next_time"

Values = dict[str, dict[str, float | None]]


def wait_slices(dataset: Dataset, test: Examples) -> dict[str, Rows]:
    """Rows of the test part by slice; the task itself is about event instants."""
    known = test.watched > 0
    at_events = known & ~test.landmarks
    seen = np.isin(test.owners, dataset.train.owners)
    return {
        WAIT_TASK: at_events,
        f"{WAIT_TASK}.seen_users": at_events & seen,
        f"{WAIT_TASK}.cold_users": at_events & ~seen,
        f"{WAIT_TASK}.landmarks": known & test.landmarks,
        f"{WAIT_TASK}.active": known & active_rows(test),
    }


def evaluate_waits(
    models: Sequence[NextTimeModel], examples: Examples, slices: Mapping[str, Rows]
) -> Values:
    """Metrics of one model, averaged over the seeds of its fits.

    Parameters
    ----------
    models
        The fits.
    examples
        A part of the split.
    slices
        Rows by task.
    """
    if not any(rows.any() for rows in slices.values()):
        return {}
    predictions = [model.predict_next_time(examples) for model in models]
    return {
        name: score_waits([quantiles[rows] for quantiles in predictions], examples.take(rows))
        for name, rows in slices.items()
        if rows.any()
    }


def score_waits(predictions: Sequence[NDArray], examples: Examples) -> dict[str, float | None]:
    """Every metric of one set of rows, averaged over the predictions of several seeds.

    Parameters
    ----------
    predictions
        # [rows, levels] each, seconds, one a seed
    examples
        # [rows], watched

    Returns
    -------
    metrics
        ``pinball`` of log1p of seconds; ``coverage``, the share of waits in the interval of 80 %
        among the ``coverage_rows`` of which that can be told; ``censored``, the share of waits that
        were not seen to their end.
    """
    waits, watched = examples.waits, examples.watched
    losses = [pinball_loss(quantiles, waits, watched) for quantiles in predictions]
    hits = [interval_hits(quantiles, waits, watched) for quantiles in predictions]
    told = [~np.isnan(hit) for hit in hits]
    covered = [
        hit[rows].mean() if rows.any() else np.nan for hit, rows in zip(hits, told, strict=True)
    ]
    by_row = {"pinball": np.mean(losses, axis=0)}
    values = {
        "rows": float(len(examples)),
        "users": float(len(np.unique(examples.owners))),
        "censored": float((waits >= watched).mean()),
        "pinball": float(by_row["pinball"].mean()),
        "coverage": float(np.mean(covered)),
        "coverage_rows": float(np.mean(told)),
    }
    if len(losses) > 1:
        values["seeds"] = float(len(losses))
        values["pinball_seed_std"] = float(np.std([loss.mean() for loss in losses], ddof=1))
    return with_uncertainty(values, by_row, examples.owners, ())
