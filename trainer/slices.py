"""Slices of a part of the split: the rows that a line of the table is about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Dataset, Examples

SHORT_HISTORY = 5  # fewer events than this say little about a user
ACTIVE = np.timedelta64(30, "D")  # who did nothing for longer is not active

Rows = NDArray[np.bool_]


def active_rows(examples: Examples) -> Rows:
    """Rows whose user had an event in the last 30 days; # [rows]."""
    instants = examples.sequences.instants
    assert instants is not None
    last = instants[np.maximum(examples.ends - 1, 0)]
    return (examples.lengths > 0) & (examples.instants - last < ACTIVE)


def next_action_slices(task: str, dataset: Dataset, test: Examples) -> dict[str, Rows]:
    """Rows of the test part by slice of the next action.

    Notes
    -----
    The task itself is about event instants, where somebody acts. Landmarks are as many as one
    makes them, and most of their users are gone for good: they are a slice of their own, and
    ``active`` is every instant, landmark or not, of users with an event in the last 30 days.
    """
    known = test.labels >= 0
    at_events = known & ~test.landmarks
    seen = np.isin(test.owners, dataset.train.owners)
    return {
        task: at_events,
        f"{task}.seen_users": at_events & seen,
        f"{task}.cold_users": at_events & ~seen,
        f"{task}.short_histories": at_events & (test.lengths < SHORT_HISTORY),
        f"{task}.landmarks": known & test.landmarks,
        f"{task}.active": known & active_rows(test),
    }
