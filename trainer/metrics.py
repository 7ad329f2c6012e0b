"""Metrics of probabilistic predictions, from their definitions.

Tied scores count by expectation over their orders, so that a constant score gets exactly what
chance gets; sums are made in float64 whatever the model's precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FLOOR = 1e-12  # a probability of exactly 0 costs 27.6 nats and not infinity


def top_k_credit(probabilities: NDArray, labels: NDArray, k: int) -> NDArray[np.float64]:
    """Chance, over the orders of tied scores, that the label is among the k highest.

    Parameters
    ----------
    probabilities
        # [rows, states]
    labels
        # [rows], indices of states
    k
        How many of the highest scores count as a hit.
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    higher = (probabilities > own).sum(axis=1)
    tied = (probabilities == own).sum(axis=1)
    return np.clip((k - higher) / tied, 0.0, 1.0)


def accuracy(probabilities: NDArray, labels: NDArray) -> float:
    """Share of rows whose most probable state is the label."""
    return float(top_k_credit(probabilities, labels, 1).mean())


def top_k_accuracy(probabilities: NDArray, labels: NDArray, k: int) -> float:
    """Share of rows whose label is among the k most probable states."""
    return float(top_k_credit(probabilities, labels, k).mean())


def macro_recall(probabilities: NDArray, labels: NDArray) -> float:
    """Mean over the states that occur of the recall of each; absent states do not count."""
    credit = top_k_credit(probabilities, labels, 1)
    rows = np.bincount(labels, minlength=probabilities.shape[1])
    hits = np.bincount(labels, weights=credit, minlength=probabilities.shape[1])
    present = rows > 0
    return float((hits[present] / rows[present]).mean())


def row_log_loss(probabilities: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Negative log-probability of each row's label, in nats."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0].astype(np.float64)
    return -np.log(np.maximum(own, _FLOOR))


def log_loss(probabilities: NDArray, labels: NDArray) -> float:
    """Mean negative log-probability of the labels, in nats."""
    return float(row_log_loss(probabilities, labels).mean())


def expected_calibration_error(probabilities: NDArray, labels: NDArray, bins: int = 15) -> float:
    """Mean distance between confidence and hit rate over equal-width bins of the top probability.

    Source: Guo et al. 2017, "On calibration of modern neural networks".
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    credit = top_k_credit(probabilities, labels, 1)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    distance = np.bincount(place, weights=confidence - credit, minlength=bins)
    return float(np.abs(distance).sum() / len(labels))


def roc_auc(scores: NDArray, labels: NDArray) -> float:
    """Chance that a positive row outscores a negative one, ties counting one half.

    Parameters
    ----------
    scores
        # [rows]
    labels
        # [rows], true where positive
    """
    positive = labels.astype(bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    mean_rank = last_rank - (counts - 1) / 2
    rank_sum = mean_rank[inverse][positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def user_average(values: NDArray, users: NDArray) -> float:
    """Mean over users of each user's mean, so that the busy ones do not decide alone."""
    _, inverse, counts = np.unique(users, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, weights=values.astype(np.float64))
    return float((sums / counts).mean())


def average_precision(scores: NDArray, labels: NDArray) -> float:
    """Area under precision and recall, by steps; rows of one score are one step.

    A constant score gets exactly the share of positives. NaN without a positive.

    Parameters
    ----------
    scores
        # [rows]
    labels
        # [rows], true where positive
    """
    positive = labels.astype(bool)
    if not positive.any():
        return float("nan")
    _, inverse = np.unique(-scores, return_inverse=True)
    rows = np.bincount(inverse)
    hits = np.bincount(inverse, weights=positive.astype(np.float64))
    precision = np.cumsum(hits) / np.cumsum(rows)
    return float((precision * hits).sum() / hits.sum())


def lift(scores: NDArray, labels: NDArray, share: float = 0.1) -> float:
    """How much more frequent positives are among the highest scores than among all rows.

    Of the rows tied at the border, the expected part counts: a constant score has a lift of 1.

    Parameters
    ----------
    scores
        # [rows]
    labels
        # [rows], true where positive
    share
        Which part of the rows is taken, the highest scores first.
    """
    positive = labels.astype(bool)
    if not positive.any():
        return float("nan")
    taken = share * len(scores)
    _, inverse = np.unique(-scores, return_inverse=True)
    rows = np.bincount(inverse)
    hits = np.bincount(inverse, weights=positive.astype(np.float64))
    before = np.cumsum(rows) - rows
    parts = np.clip((taken - before) / rows, 0.0, 1.0)
    return float((parts * hits).sum() / taken / positive.mean())


def binary_log_loss(probabilities: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Negative log-probability of each row's truth, in nats; # [rows]."""
    chances = probabilities.astype(np.float64)
    own = np.where(labels.astype(bool), chances, 1 - chances)
    return -np.log(np.maximum(own, _FLOOR))


def binary_calibration_error(probabilities: NDArray, labels: NDArray, bins: int = 15) -> float:
    """Mean distance between probability and frequency over equal-width bins; # [rows] each."""
    chances = probabilities.astype(np.float64)
    place = np.minimum((chances * bins).astype(np.int64), bins - 1)
    distance = np.bincount(place, weights=chances - labels.astype(np.float64), minlength=bins)
    return float(np.abs(distance).sum() / len(labels))
