"""The interface of a model, and what it is fitted on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples

Report = Callable[[str], None]


def silent(_line: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Training:
    """What a model may learn from: the training part of the split and nothing later.

    Attributes
    ----------
    examples
        The training part, whole.
    fit, stop
        # [rows] of ``examples``: rows to learn from, and rows that only say when to stop
    known_events
        # [events] of ``examples.sequences``: those that vocabularies and moments may see
    transition_counts
        # [states, states], the population's transitions in force at ``train_end``
    states
        Names of the states, in the order of every probability vector.
    report
        Takes a line of progress.
    """

    examples: Examples
    fit: NDArray[np.bool_]
    stop: NDArray[np.bool_]
    known_events: NDArray[np.bool_]
    transition_counts: NDArray[np.int64]
    states: tuple[str, ...]
    report: Report = silent

    @property
    def label_counts(self) -> NDArray[np.int64]:
        """Rows of each next state at event instants: landmarks are as many as one makes them."""
        labels = self.examples.labels[~self.examples.landmarks]
        return np.bincount(labels, minlength=len(self.states))


class Model(Protocol):
    """A model of the next action."""

    @property
    def name(self) -> str:
        """What tables and ``metrics.json`` call it."""

    def fit(self, training: Training) -> None:
        """Learn from the training part."""

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of each next state; # [rows, states], rows sum to 1."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into ``folder``, as text or plain tensors."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model that :meth:`save` wrote into ``folder``."""


def smoothed(counts: NDArray, prior: float = 1.0) -> NDArray[np.float64]:
    """Probabilities ``(count + prior / states) / (total + prior)`` along the last axis."""
    counts = np.asarray(counts, dtype=np.float64)
    states = counts.shape[-1]
    return (counts + prior / states) / (counts.sum(axis=-1, keepdims=True) + prior)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read and a diff can compare."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
