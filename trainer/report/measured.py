"""Metrics as charts take them: with their intervals, and by slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.report.charts import Interval

Metrics = Mapping[str, Mapping[str, Mapping[str, Any]]]  # model -> task -> metric -> value

#: What slices are called on the page.
SLICES = {
    "seen_users": "users seen in training",
    "cold_users": "users new since training",
    "short_histories": "fewer than 5 events",
    "landmarks": "between events",
    "active": "active in the last 30 days",
    "valid": "validation part",
}


def with_intervals(metrics: Metrics, task: str, metric: str) -> dict[str, Interval]:
    """A metric of each model with its interval; models without it are left out."""
    found = {}
    for model, tasks in metrics.items():
        values = tasks.get(task) or {}
        value = values.get(metric)
        if value is not None:
            found[model] = (value, values.get(f"{metric}_low"), values.get(f"{metric}_high"))
    return found


def by_slice(
    metrics: Metrics, task: str, slices: Mapping[str, str], metric: str
) -> tuple[dict[str, dict[str, Interval]], dict[str, int]]:
    """A metric of each model on each slice, and the rows of the slices that any model has.

    Parameters
    ----------
    metrics
        As in ``metrics.json``.
    task
        Of which the slices are.
    slices
        ``{key of metrics.json: what it is called}``
    metric
        The metric.

    Returns
    -------
    values
        ``{model: {slice: (value, low, high)}}``, models without any left out
    rows
        ``{slice: rows}``
    """
    values: dict[str, dict[str, Interval]] = {model: {} for model in metrics}
    rows: dict[str, int] = {}
    for key, words in slices.items():
        name = f"{task}.{key}"
        for model, found in with_intervals(metrics, name, metric).items():
            values[model][words] = found
            rows[words] = int(metrics[model][name]["rows"] or 0)
    return {model: own for model, own in values.items() if own}, rows
