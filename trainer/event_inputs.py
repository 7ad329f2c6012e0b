"""Encoding of events as a network reads them, fitted on the training part and saved as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.config import EncoderConfig
from trainer.feature_codes import signed_log1p
from trainer.inputs import frequent, moments
from trainer.sequences import MISSING, Sequences
from trainer.vocabulary import places

# A word seen less often in training has too few events to learn from.
_RAREST, _RAREST_ITEM = 2, 5


@dataclass(frozen=True)
class EncodedEvents:
    """Events as a network reads them.

    Attributes
    ----------
    actions, items, categories, locations
        # [events], places in the vocabularies, 0 for unknown
    numbers
        # [events, numbers]: log-gap, first event, log-duration, duration missing, then sine and
        cosine of each part of the calendar
    """

    actions: NDArray[np.int64]
    items: NDArray[np.int64]
    categories: NDArray[np.int64]
    locations: NDArray[np.int64]
    numbers: NDArray[np.float32]

    def at(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray]:
        """What an encoder reads of some events: each of the attributes, in order."""
        return (
            self.actions[positions],
            self.items[positions],
            self.categories[positions],
            self.locations[positions],
            self.numbers[positions],
        )


class EventEncoder:
    """Turn the columns of events into vocabulary places and standardised numbers."""

    def __init__(
        self,
        actions: tuple[str, ...],
        items: tuple[str, ...],
        categories: tuple[str, ...],
        locations: tuple[str, ...],
        gap: tuple[float, float],
        duration: tuple[float, float],
        calendar: tuple[str, ...],
    ) -> None:
        self.actions = actions
        self.items = items
        self.categories = categories
        self.locations = locations
        self.gap = gap
        self.duration = duration
        self.calendar = calendar

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        rows: NDArray[np.bool_],
        actions: tuple[str, ...],
        config: EncoderConfig,
    ) -> EventEncoder:
        """Fit the vocabularies and the moments of gaps and durations.

        Parameters
        ----------
        sequences
            The events.
        rows
            # [events], true for the events of the training part
        actions
            The dataset's actions, in declared order.
        config
            How many of the most frequent items, categories and locations are kept, and which parts
            of the calendar.
        """
        known = pa.array(rows)
        gaps, durations = sequences.gaps_ms[rows], sequences.durations_ms[rows]
        return cls(
            actions=actions,
            items=frequent(sequences.items.filter(known), config.items, _RAREST_ITEM),
            categories=frequent(sequences.categories.filter(known), config.categories, _RAREST),
            locations=frequent(sequences.locations.filter(known), config.locations, _RAREST),
            gap=_moments_of_one(gaps[gaps != MISSING]),
            duration=_moments_of_one(durations[durations != MISSING]),
            calendar=tuple(config.calendar),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the vocabularies, and numbers of an event: what a network is made with."""
        return {
            "actions": len(self.actions),
            "items": len(self.items),
            "categories": len(self.categories),
            "locations": len(self.locations),
            "numbers": 4 + 2 * len(self.calendar),
        }

    def transform(self, sequences: Sequences) -> EncodedEvents:
        """Encode all events of ``sequences``."""
        missing = sequences.gaps_ms == MISSING, sequences.durations_ms == MISSING
        turns = {"hour": (sequences.hours, 24), "weekday": (sequences.weekdays, 7)}
        numbers = np.empty((len(sequences), self.sizes["numbers"]), np.float32)
        numbers[:, 0] = _standardise(sequences.gaps_ms, missing[0], self.gap)
        numbers[:, 1] = missing[0]
        numbers[:, 2] = _standardise(sequences.durations_ms, missing[1], self.duration)
        numbers[:, 3] = missing[1]
        for number, part in enumerate(self.calendar):
            values, whole = turns[part]
            angles = values * (2 * np.pi / whole)
            np.sin(angles, out=numbers[:, 4 + 2 * number], casting="same_kind")
            np.cos(angles, out=numbers[:, 5 + 2 * number], casting="same_kind")
        return EncodedEvents(
            # Counted from 1: 0 is null and unknown.
            actions=places(sequences.actions, self.actions) + 1,
            items=places(sequences.items, self.items) + 1,
            categories=places(sequences.categories, self.categories) + 1,
            locations=places(sequences.locations, self.locations) + 1,
            numbers=numbers,
        )

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        return {
            "actions": list(self.actions),
            "items": list(self.items),
            "categories": list(self.categories),
            "locations": list(self.locations),
            "gap_ms": list(self.gap),
            "duration_ms": list(self.duration),
            "calendar": list(self.calendar),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> EventEncoder:
        """The encoder that :meth:`to_json` described."""
        # A run of before items, locations and weekdays were read says nothing of them.
        return cls(
            actions=tuple(content["actions"]),
            items=tuple(content.get("items", ())),
            categories=tuple(content["categories"]),
            locations=tuple(content.get("locations", ())),
            gap=tuple(content["gap_ms"]),
            duration=tuple(content["duration_ms"]),
            calendar=tuple(content.get("calendar", ("hour",))),
        )


def _moments_of_one(milliseconds: NDArray[np.int64]) -> tuple[float, float]:
    mean, scale = moments(signed_log1p(milliseconds)[:, None], "number", 1)
    return float(mean[0]), float(scale[0])


def _standardise(
    milliseconds: NDArray[np.int64], missing: NDArray[np.bool_], moments: tuple[float, float]
) -> NDArray[np.float64]:
    mean, scale = moments
    return np.where(missing, 0.0, (signed_log1p(milliseconds) - mean) * scale)
