"""What ``trainer tune`` may choose: every key with its choices or its range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.config import FitConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number between two, both included; ``log`` is for what is thought of in factors."""

    low: float
    high: float
    log: bool = False


SPACE: Mapping[str, Choice | Range] = {
    "encoder.cell": Choice(("lstm", "gru")),
    "encoder.layers": Choice((1, 2)),
    "encoder.hidden": Choice((24, 50, 100)),
    "encoder.dropout": Range(0.0, 0.4),
    "encoder.unknown": Range(0.0, 0.7),
    "fusion.kind": Choice(("weighted", "concat", "gated", "additive")),
    "fusion.scale_dropout": Range(0.0, 0.3),
    "head.context": Choice((16, 32, 64)),
    "head.dropout": Range(0.0, 0.5),
    "batch": Choice((8, 16, 32)),
    "learning_rate": Range(3e-4, 1e-2, log=True),
    "weight_decay": Range(1e-4, 1e-1, log=True),
}


def distributions(keys: tuple[str, ...]) -> dict[str, BaseDistribution]:
    """The space of some keys as the sampler reads it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        key: CategoricalDistribution(entry.values)
        if isinstance(entry, Choice)
        else FloatDistribution(entry.low, entry.high, log=entry.log)
        for key, entry in SPACE.items()
        if key in keys
    }


def value_of(config: FitConfig, key: str) -> Any:
    """What a configuration says under a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def is_inside(key: str, value: Any) -> bool:
    """Whether a value belongs to the space."""
    entry = SPACE[key]
    if isinstance(entry, Choice):
        return value in entry.values
    return entry.low <= value <= entry.high
