"""Encoding of events as a network reads them, fitted on the training part and saved as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainer.inputs import frequent, lookup, moments, signed_log1p
from trainer.sequences import MISSING, Sequences


@dataclass(frozen=True)
class EncodedEvents:
    """Events as a network reads them.

    Attributes
    ----------
    actions, categories
        # [events], places in the vocabularies, 0 for unknown
    numbers
        # [events, 6]: log-gap, first event, log-duration, duration missing, and sine and cosine
        of the hour
    """

    actions: NDArray[np.int64]
    categories: NDArray[np.int64]
    numbers: NDArray[np.float32]


class EventEncoder:
    """Turn the columns of events into vocabulary places and standardised numbers."""

    NUMBERS = 6

    def __init__(
        self,
        actions: tuple[str, ...],
        categories: tuple[str, ...],
        gap: tuple[float, float],
        duration: tuple[float, float],
    ) -> None:
        self.actions = actions
        self.categories = categories
        self.gap = gap
        self.duration = duration

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        rows: NDArray[np.bool_],
        actions: tuple[str, ...],
        categories: int,
    ) -> EventEncoder:
        """Fit the category vocabulary and the moments of gaps and durations.

        Parameters
        ----------
        sequences
            The events.
        rows
            # [events], true for the events of the training part
        actions
            The dataset's actions, in declared order.
        categories
            How many of the most frequent categories are kept.
        """
        chosen = sequences.categories.filter(pa.array(rows))
        gaps, durations = sequences.gaps_ms[rows], sequences.durations_ms[rows]
        return cls(
            actions=actions,
            categories=frequent(chosen, categories, rarest=2),
            gap=_moments_of_one(gaps[gaps != MISSING]),
            duration=_moments_of_one(durations[durations != MISSING]),
        )

    def transform(self, sequences: Sequences) -> EncodedEvents:
        """Encode all events of ``sequences``."""
        hours = sequences.hours * (2 * np.pi / 24)
        numbers = np.stack(
            [
                _standardise(sequences.gaps_ms, self.gap),
                sequences.gaps_ms == MISSING,
                _standardise(sequences.durations_ms, self.duration),
                sequences.durations_ms == MISSING,
                np.sin(hours),
                np.cos(hours),
            ],
            axis=1,
        ).astype(np.float32)
        return EncodedEvents(
            actions=_places(sequences.actions, self.actions),
            categories=_places(sequences.categories, self.categories),
            numbers=numbers,
        )

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        return {
            "actions": list(self.actions),
            "categories": list(self.categories),
            "gap_ms": list(self.gap),
            "duration_ms": list(self.duration),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> EventEncoder:
        """The encoder that :meth:`to_json` described."""
        return cls(
            tuple(content["actions"]),
            tuple(content["categories"]),
            tuple(content["gap_ms"]),
            tuple(content["duration_ms"]),
        )


def _places(column: pa.Array, words: tuple[str, ...]) -> NDArray[np.int64]:
    """Place in the vocabulary counted from 1; 0 for null and unknown."""
    return pc.fill_null(lookup(column, words), -1).to_numpy().astype(np.int64) + 1


def _moments_of_one(milliseconds: NDArray[np.int64]) -> tuple[float, float]:
    mean, scale = moments(signed_log1p(milliseconds)[:, None], "number", 1)
    return float(mean[0]), float(scale[0])


def _standardise(milliseconds: NDArray[np.int64], moments: tuple[float, float]) -> NDArray:
    mean, scale = moments
    return np.where(milliseconds == MISSING, 0.0, (signed_log1p(milliseconds) - mean) * scale)
