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


def _fit(inputs: NDArray, labels: NDArray, offset: NDArray | float) -> NDArray[np.float64]:
    """Weights of the least log-loss of ``inputs @ weights + offset``."""
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ weights + offset, -30, 30)))
        gradient = inputs.T @ (chances - labels)
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return weights
