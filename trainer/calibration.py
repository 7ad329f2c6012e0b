"""Calibration: a slope and an intercept that make logits as frequent as they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FEWEST = 20  # positives and negatives; fewer say too little to move anything
_STEPS = 50


def platt(logits: NDArray, labels: NDArray) -> tuple[float, float]:
    """Slope and intercept of the least log-loss.

    Parameters
    ----------
    logits, labels
        # [rows]; labels are 0 or 1

    Returns
    -------
    slope, intercept
        1 and 0 where there are too few of a kind, or where the best slope would turn the ranking
        round. The slope is at most 1: held-out rows may show that a model is too sure, and are too
        few and too alike to show that it is not sure enough.

    Notes
    -----
    Platt 1999, "Probabilistic outputs for support vector machines", without its prior counts, by
    Newton's method.
    """
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < _FEWEST:
        return 1.0, 0.0
    logits = logits.astype(np.float64)
    slope, intercept = _fit(np.column_stack([logits, np.ones(len(logits))]), labels, 0.0)
    if not np.isfinite([slope, intercept]).all() or slope <= 0:
        return 1.0, 0.0
    if slope > 1:
        (intercept,) = _fit(np.ones((len(logits), 1)), labels, logits)
        slope = 1.0
    return float(slope), float(intercept)


def softmax_slope(logits: NDArray, labels: NDArray, weights: NDArray) -> float:
    """The number by which all logits are multiplied at the least weighted log-loss.

    Parameters
    ----------
    logits
        # [rows, classes], minus infinity for what is impossible
    labels
        # [rows], places among the classes
    weights
        # [rows], how much each row counts

    Returns
    -------
    slope
        At most 1, as in :func:`platt`; 1 too where fewer than 20 rows count, or where the best
        slope would turn the ranking round.

    Notes
    -----
    One over the temperature of Guo et al. 2017, "On calibration of modern neural networks". The
    loss is convex in the slope, so halving finds where its derivative changes sign.
    """
    counted = (weights > 0) & np.isfinite(logits[np.arange(len(labels)), labels])
    if counted.sum() < _FEWEST:
        return 1.0
    logits, labels, weights = logits[counted].astype(np.float64), labels[counted], weights[counted]
    possible = np.isfinite(logits)
    logits = np.where(possible, logits - logits.max(axis=1, keepdims=True), 0.0)
    own = logits[np.arange(len(labels)), labels]

    def derivative(slope: float) -> float:
        chances = np.where(possible, np.exp(slope * logits), 0.0)
        chances /= chances.sum(axis=1, keepdims=True)
        return float((weights * ((chances * logits).sum(axis=1) - own)).sum())

    low, high = 0.0, 1.0
    if not derivative(low) < 0 < derivative(high):
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return high


def slope_over_time(logits: NDArray, labels: NDArray, folds: NDArray) -> float:
    """How far logits may be believed of a time that is still to come.

    Parameters
    ----------
    logits, labels
        # [rows], of models that had learned from earlier rows alone; labels are 0 or 1
    folds
        # [rows], which model it was: each has an intercept of its own, for base rates move

    Returns
    -------
    slope
        Between 0 and 1: the mean of the folds' best slopes less their deviation. 1 where no fold
        has enough of both kinds to tell.

    Notes
    -----
    The next block of time is one more draw. To believe too much costs far more there than to
    believe too little, so where the folds differ the lower end counts.
    """
    slopes = []
    for fold in np.unique(folds):
        own = folds == fold
        if _FEWEST <= labels[own].sum() <= own.sum() - _FEWEST:
            inputs = np.column_stack([logits[own].astype(np.float64), np.ones(own.sum())])
            slope = _fit(inputs, labels[own], 0.0, penalty=1e-3)[0]
            slopes.append(np.clip(slope, -1.0, 1.0) if np.isfinite(slope) else 0.0)
    if not slopes:
        return 1.0
    spread = np.std(slopes, ddof=1) if len(slopes) > 1 else 0.0
    return float(np.clip(np.mean(slopes) - spread, 0.0, 1.0))


def intercept(logits: NDArray, labels: NDArray) -> float:
    """What to add to logits so that they are as frequent as the labels; # [rows] each."""
    chances = np.clip((labels.sum() + 0.5) / (len(labels) + 1.0), 1e-6, 1 - 1e-6)
    low, high = -60.0, 60.0
    for _ in range(80):  # the mean rises with what is added
        middle = (low + high) / 2
        mean = (1 / (1 + np.exp(-np.clip(logits + middle, -60, 60)))).mean()
        low, high = (middle, high) if mean < chances else (low, middle)
    return (low + high) / 2


def _fit(
    inputs: NDArray, labels: NDArray, offset: NDArray | float, penalty: float = 1e-9
) -> NDArray[np.float64]:
    """Weights of the least log-loss of ``inputs @ weights + offset``."""
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ weights + offset, -30, 30)))
        gradient = inputs.T @ (chances - labels) + penalty * weights
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + penalty * np.eye(len(weights)), gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return weights
