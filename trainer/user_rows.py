"""The user's own row of the transition matrix, counted at the instant and backed off to everyone's.

``transition_counts_all`` in force at an instant holds what the user did after each state until
then. Few counts say little, so they are added to the population's row, which counts as much as
``strength`` transitions of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer import metrics
from trainer.columns import Columns as C
from trainer.examples import Examples
from trainer.feature_rows import FeatureRows

_JUDGED = 200_000  # rows that choose a strength, at most
STRENGTHS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0)


def evenly(rows: int, most: int) -> NDArray[np.int64]:
    """Places of at most so many of some rows, evenly over them; all where they are no more."""
    return np.arange(rows) if rows <= most else np.arange(most) * rows // most


def own_counts(examples: Examples, states: int) -> NDArray[np.int64]:
    """Transitions of each row's user out of the current state; # [rows, states].

    0 everywhere for a user without history.
    """
    counts = np.zeros((len(examples), states), dtype=np.int64)
    if isinstance(examples.features, FeatureRows):
        pieces = examples.features.pieces(C.TRANSITION_COUNTS)
        for row, (piece, state) in enumerate(zip(pieces, examples.states.tolist(), strict=True)):
            if piece is not None and state >= 0:
                counts[row] = np.frombuffer(piece, "<i8").reshape(states, states)[state]
        return counts
    column = examples.features[C.TRANSITION_COUNTS].combine_chunks()
    known = ~np.asarray(column.is_null().to_numpy(zero_copy_only=False)) & (examples.states >= 0)
    if known.any():
        matrices = column.filter(column.is_valid()).flatten().to_numpy()
        place = np.cumsum(np.asarray(column.is_valid().to_numpy(zero_copy_only=False))) - 1
        matrices = matrices.reshape(-1, states, states)
        counts[known] = matrices[place[known], examples.states[known]]
    return counts


def backed_off(counts: NDArray, base: NDArray, strength: float) -> NDArray[np.float64]:
    """``(count + strength * base) / (total + strength)`` along the last axis."""
    return (counts + strength * base) / (counts.sum(axis=-1, keepdims=True) + strength)


def without_leave_twice(probabilities: NDArray, states: NDArray) -> NDArray[np.float64]:
    """The same rows with nothing on ``leave`` where the session is closed already.

    Parameters
    ----------
    probabilities
        # [rows, states], ``leave`` last
    states
        # [rows], the current state
    """
    size = probabilities.shape[1]
    answer = np.array(probabilities, dtype=np.float64)
    answer[states == size - 1, -1] = 0.0
    return answer / answer.sum(axis=1, keepdims=True)


def best_strength(
    probabilities_of: Callable[[float], NDArray],
    labels: NDArray,
    strengths: tuple[float, ...] = STRENGTHS,
) -> float:
    """The strength under which held-out labels are likeliest.

    Parameters
    ----------
    probabilities_of
        Takes a strength, gives # [rows, states].
    labels
        # [rows]
    strengths
        Those tried.
    """
    losses = [metrics.log_loss(probabilities_of(strength), labels) for strength in strengths]
    return strengths[int(np.argmin(losses))]


class UserRows:
    """Own transition rows backed off to the population.

    Parameters
    ----------
    population
        # [states + 1, states], the population's rows; the last one is for a user without history
    strength
        Transitions that the population's row counts as.
    """

    def __init__(self, population: NDArray[np.float64], strength: float) -> None:
        self.population = population
        self.strength = strength

    @property
    def states(self) -> int:
        """States of a row."""
        return self.population.shape[1]

    @classmethod
    def fit(cls, population: NDArray[np.float64], held_out: Examples) -> UserRows:
        """Choose the strength on rows at events of the training part.

        Parameters
        ----------
        population
            See :class:`UserRows`.
        held_out
            Rows that choose; their counts hold nothing that comes after them.
        """
        rows = cls(population, STRENGTHS[0])
        chosen = np.flatnonzero((held_out.labels >= 0) & ~held_out.landmarks)
        judged = held_out.take(chosen[evenly(len(chosen), _JUDGED)]).loaded()
        if len(judged):
            counts = own_counts(judged, rows.states)
            rows.strength = best_strength(
                lambda strength: rows._backed_off(counts, judged.states, strength), judged.labels
            )
        return rows

    def probabilities(
        self, examples: Examples, counts: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """The backed-off row of each example; # [rows, states].

        Parameters
        ----------
        examples
            # [rows]
        counts
            # [rows, states], what :func:`own_counts` gave for them, where it was asked already.
        """
        if counts is None:
            counts = own_counts(examples, self.states)
        return self._backed_off(counts, examples.states, self.strength)

    def _backed_off(self, counts: NDArray, states: NDArray, strength: float) -> NDArray:
        mixed = backed_off(counts, self.population[states], strength)  # -1 is the last row
        return without_leave_twice(mixed, states)

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        return {"population": self.population.tolist(), "strength": self.strength}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> UserRows:
        """The rows that :meth:`to_json` described."""
        return cls(np.array(content["population"], dtype=np.float64), content["strength"])
