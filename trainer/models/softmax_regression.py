"""Multinomial logistic regression, fitted by scikit-learn and kept as its coefficients."""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainer.config import FitConfig
from trainer.models.classifier import ClassRows


class SoftmaxRegression:
    """Linear scores of the classes.

    Parameters
    ----------
    coefficients
        # [classes, columns]
    intercepts
        # [classes]
    """

    def __init__(self, coefficients: NDArray, intercepts: NDArray) -> None:
        self.coefficients = coefficients
        self.intercepts = intercepts

    @classmethod
    def fit(cls, rows: ClassRows, config: FitConfig) -> Self:
        """Fit with each penalty and keep the one of the least held-out loss."""
        settings = config.logistic
        strengths = settings.strengths if len(rows.held_labels) else settings.strengths[:1]
        fits = [cls._fit_one(rows, strength, settings.iterations) for strength in strengths]
        losses = [rows.held_loss(fitted.probabilities(rows.held_matrix)) for fitted in fits]
        return fits[int(np.argmin(losses))]

    @classmethod
    def _fit_one(cls, rows: ClassRows, strength: float, iterations: int) -> Self:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, max_iter=iterations, tol=1e-3)
        with warnings.catch_warnings():
            # Stopped early is a penalty of its own; held-out rows judge it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows.matrix, rows.labels, sample_weight=rows.weights)
        if len(model.coef_) == 1:  # of two classes, scikit-learn keeps the second one's score
            return cls(
                np.vstack([np.zeros_like(model.coef_), model.coef_]),
                np.append(0.0, model.intercept_),
            )
        return cls(model.coef_, model.intercept_)

    def probabilities(self, matrix: NDArray) -> NDArray[np.float64]:
        """Probability of each class; # [rows, classes]."""
        return softmax(matrix.astype(np.float64) @ self.coefficients.T + self.intercepts)

    def to_arrays(self) -> dict[str, NDArray]:
        """The fitted state."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """What :meth:`to_arrays` described."""
        return cls(**arrays)


def softmax(scores: NDArray) -> NDArray[np.float64]:
    """Probabilities of scores, along the last axis."""
    chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return chances / chances.sum(axis=-1, keepdims=True)
