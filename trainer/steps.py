"""The steps of a user's path through the states: his instants, with ``leave`` between sessions.

A transition leads from the last state of one instant to the first state of the next, and ``leave``
is a step of its own. Gaps are whole milliseconds, so events less than one apart are one instant
here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Steps:
    """Paths of many users, one after the other.

    Attributes
    ----------
    firsts, lasts
        # [steps], the first and the last state of each step
    starts
        # [steps], the step at which the user's path begins
    of_event
        # [events], the step of each event
    """

    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]
    starts: NDArray[np.int64]
    of_event: NDArray[np.int64]


def make_steps(
    actions: NDArray[np.int64],
    gaps_ms: NDArray[np.int64],
    offsets: NDArray[np.int64],
    leave: int,
    session_gap: np.timedelta64,
) -> Steps:
    """Walk flat event sequences.

    Parameters
    ----------
    actions, gaps_ms
        # [events], states as indices and the time since the user's previous event
    offsets
        # [users + 1]
    leave
        Index of the state ``leave``.
    session_gap
        A longer gap has a ``leave`` in it.

    Examples
    --------
    >>> gap = np.timedelta64(30, "m")
    >>> steps = make_steps(np.array([0, 1, 0]), np.array([-1, 0, 7_200_000]), np.array([0, 3]),
    ...                    2, gap)
    >>> steps.firsts.tolist(), steps.lasts.tolist(), steps.of_event.tolist()
    ([0, 2, 0], [1, 2, 0], [0, 0, 2])
    """
    first_of_user = np.zeros(len(actions), dtype=bool)
    first_of_user[offsets[:-1][np.diff(offsets) > 0]] = True
    new = first_of_user | (gaps_ms != 0)
    left = ~first_of_user & (gaps_ms > session_gap / np.timedelta64(1, "ms"))
    of_event = np.cumsum(new.astype(np.int64) + left) - 1
    total = int(of_event[-1]) + 1 if len(of_event) else 0
    firsts = np.full(total, leave, dtype=np.int64)
    lasts = firsts.copy()
    firsts[of_event[new]] = actions[new]
    ends = np.append(new[1:], True)[: len(new)]  # the last event of its instant
    lasts[of_event[ends]] = actions[ends]
    lengths = np.diff(offsets)
    begins = of_event[offsets[:-1][lengths > 0]]
    counts = np.diff(np.append(begins, total))
    return Steps(firsts, lasts, np.repeat(begins, counts), of_event)
