"""Logistic regression on the multi-scale context."""

from __future__ import annotations

from trainer.models.classifier import ContextClassifier
from trainer.models.softmax_regression import SoftmaxRegression


class Logistic(ContextClassifier):
    """Multinomial logistic regression; the penalty is the one of the least held-out loss."""

    name = "logistic"
    KIND = SoftmaxRegression
