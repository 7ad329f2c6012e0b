"""A user's features over time, from the offline store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.features import Feature, features_at, scale_order
from trainer.instants import Instants
from trainer.prediction import Predictor

_NUMBERS = ("BIGINT", "DOUBLE")
POINTS = 61


@dataclass(frozen=True)
class Series:
    """Values of one feature at instants; ``None`` where unknown."""

    feature: Feature
    instants: Instants
    values: list[float | None]


def measures(published: Sequence[Feature]) -> dict[str, tuple[Feature, ...]]:
    """Features of one number at each of its scales, by their name without the scale."""
    found: dict[str, list[Feature]] = {}
    for feature in published:
        suffix = f"_{feature.scale}"
        if feature.scale and feature.type in _NUMBERS and feature.name.endswith(suffix):
            found.setdefault(feature.name.removesuffix(suffix), []).append(feature)
    return {
        name: tuple(sorted(features, key=lambda feature: scale_order(feature.scale)))
        for name, features in found.items()
    }


def read_history(
    predictor: Predictor,
    user: str,
    features: Sequence[Feature],
    end: np.datetime64,
    span: np.timedelta64,
) -> list[Series]:
    """Read features at equal steps over `span`, up to and including `end`.

    Every value is exact at its instant. Between two of them a value may have changed and changed
    back.
    """
    step = span.astype("timedelta64[us]") // (POINTS - 1)
    instants = end.astype("datetime64[us]") - step * np.arange(POINTS - 1, -1, -1)
    users = np.repeat(np.array([user], dtype=object), POINTS)
    values = features_at(predictor.store, users, instants, features)
    return [
        Series(feature, instants, [_number(v) for v in values[feature.name].to_pylist()])
        for feature in features
    ]


def _number(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
