"""Grain: one pattern of user behaviour, a cluster of the sample of the training part."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

PATTERNS = 6
SEED = 0
NAMED = 0.5  # deviations from the mean of all, below which a feature distinguishes nothing

SCHEMA = pa.schema(
    {
        "pattern": pa.int64(),
        "pattern_label": pa.string(),
        "row_count": pa.int64(),
        "features": pa.list_(pa.string()),
        "means": pa.list_(pa.float64()),
        "scales": pa.list_(pa.float64()),
        "center": pa.list_(pa.float64()),
        "fitted_on": pa.string(),
    }
)


def model(dbt: Any, session: Any) -> pa.Table:
    """Fit the patterns; a log without training rows has none."""
    dbt.config(materialized="table")
    rows = dbt.ref("int_pattern_sample").order("user_id, event_timestamp").to_arrow_table()
    sample = rows.drop_columns(["user_id", "event_timestamp"])
    fitted_on = fingerprint(sample)
    kept = fitted_before(getattr(dbt, "this", None), session, fitted_on)
    return fit(sample, fitted_on) if kept is None else kept


def fingerprint(sample: pa.Table) -> str:
    """What decides a fit: the sample, this code, and the libraries that it runs in."""
    found = hashlib.sha256(Path(__file__).read_bytes())
    found.update(str([version(name) for name in ("numpy", "scikit-learn")]).encode())
    for name in sample.column_names:
        found.update(name.encode())
        found.update(sample[name].to_numpy().astype(float).tobytes())
    return found.hexdigest()


def fitted_before(this: Any, session: Any, fitted_on: str) -> pa.Table | None:
    """Give the patterns of the build before, where they are what a fit would find again.

    Most builds change nothing of the training part, and a fit costs more than all the rest of a
    build in which little arrived.
    """
    if this is None:  # an engine that does not show a model its own table
        return None
    names = [this.schema, this.identifier]
    known = session.execute(
        "select column_name from duckdb_columns() where schema_name = ? and table_name = ?", names
    ).fetchall()
    if not {(name,) for name in SCHEMA.names} <= set(known):
        return None
    kept = session.sql(f"select {', '.join(SCHEMA.names)} from {this} order by pattern")
    kept = kept.to_arrow_table()
    return kept.cast(SCHEMA) if kept["fitted_on"].unique().to_pylist() == [fitted_on] else None


def fit(sample: pa.Table, fitted_on: str = "") -> pa.Table:
    """Cluster a sample of rows.

    Parameters
    ----------
    sample
        # [rows], one column a feature; null where a row has no value
    fitted_on
        The sample's `fingerprint`, which is kept beside the patterns.

    Returns
    -------
    patterns
        # [patterns], at most ``PATTERNS``: the largest first, numbered from 1, each with its center
        in deviations from the mean, # [features], and with what standardises a row as the sample
        was: (value - mean) * scale, and 0 for null
    """
    if sample.num_rows == 0:
        return SCHEMA.empty_table()
    names = sample.column_names
    values = np.column_stack([sample[name].to_numpy() for name in names])  # [rows, features]
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, values, 0.0).sum(axis=0) / counts
    deviations = np.sqrt((np.where(known, values - means, 0.0) ** 2).sum(axis=0) / counts)
    # What is the same everywhere distinguishes nobody, then or later.
    scales = np.divide(1.0, deviations, out=np.zeros(len(names)), where=deviations > 1e-9)
    points = np.where(known, values - means, 0.0) * scales
    centers, sizes = clusters(points)
    labels = label(centers, names)
    rows = [
        (place + 1, labels[place], sizes[place], names, means, scales, center, fitted_on)
        for place, center in enumerate(centers)
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, schema=SCHEMA)


def clusters(points: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Centers, # [clusters, features], and sizes; the largest first, ties by their centers."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Nearer than this, k-means cannot tell two rows apart, and asking for both leaves one empty.
    count = min(PATTERNS, len(np.unique(points.round(6), axis=0)))
    # Threads add up in any order, and the last bit with them.
    with threadpool_limits(1):
        found = KMeans(count, n_init=10, random_state=SEED).fit(points)
    sizes = np.bincount(found.labels_, minlength=count)
    order = sorted(range(count), key=lambda c: (-sizes[c], *found.cluster_centers_[c]))
    return found.cluster_centers_[order], sizes[order].tolist()


def label(centers: np.ndarray, names: list[str]) -> list[str]:
    """Name each cluster by where it lies farthest from the mean.

    Two features, and as many more as it takes to tell all clusters apart.
    """
    ranked = [
        [
            f"{'high' if center[place] > 0 else 'low'} {names[place]}"
            for place in np.argsort(-np.abs(center), kind="stable")
            if abs(center[place]) >= NAMED
        ]
        for center in centers
    ]
    for words in range(2, max(len(names), 2) + 1):
        labels = [", ".join(terms[:words]) or "average" for terms in ranked]
        # The same words in another order say the same.
        if len({frozenset(terms[:words]) for terms in ranked}) == len(ranked):
            return labels
    return [f"{text} ({place + 1})" for place, text in enumerate(labels)]
