"""Gradient boosting on the multi-scale context."""

from __future__ import annotations

from trainer.models.classifier import ContextClassifier
from trainer.models.tree_ensemble import TreeEnsemble


class Boosting(ContextClassifier):
    """Boosted trees, as many as held-out rows allow."""

    name = "boosting"
    KIND = TreeEnsemble
