"""Encoding of events as a network reads them, fitted on the training part and saved as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.feature_codes import signed_log1p
from trainer.inputs import frequent, moments
from trainer.sequences import MISSING, Sequences
from trainer.vocabulary import places


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
        numbers = np.empty((len(sequences), self.NUMBERS), np.float32)
        missing = sequences.gaps_ms == MISSING, sequences.durations_ms == MISSING
        numbers[:, 0] = _standardise(sequences.gaps_ms, missing[0], self.gap)
        numbers[:, 1] = missing[0]
        numbers[:, 2] = _standardise(sequences.durations_ms, missing[1], self.duration)
        numbers[:, 3] = missing[1]
        hours = sequences.hours * (2 * np.pi / 24)
        np.sin(hours, out=numbers[:, 4], casting="same_kind")
        np.cos(hours, out=numbers[:, 5], casting="same_kind")
        return EncodedEvents(
            # Counted from 1: 0 is null and unknown.
            actions=places(sequences.actions, self.actions) + 1,
            categories=places(sequences.categories, self.categories) + 1,
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


def _moments_of_one(milliseconds: NDArray[np.int64]) -> tuple[float, float]:
    mean, scale = moments(signed_log1p(milliseconds)[:, None], "number", 1)
    return float(mean[0]), float(scale[0])


def _standardise(
    milliseconds: NDArray[np.int64], missing: NDArray[np.bool_], moments: tuple[float, float]
) -> NDArray[np.float64]:
    mean, scale = moments
    return np.where(missing, 0.0, (signed_log1p(milliseconds) - mean) * scale)
