"""Users who are alike: by the state of the sequence model's encoder after their last events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from feature_repo.home import labels_dir
from trainer.instants import show_instant
from trainer.labels import read_label_table
from trainer.models.served import Served
from trainer.runs import ServedRun
from trainer.sequences import Sequences


@dataclass(frozen=True)
class SimilarUser:
    """One of those who are most like a user; the cosine is 1 for the same state."""

    user_id: str
    cosine: float
    events: int


@dataclass(frozen=True)
class SimilarUsers:
    """The nearest users first, at an instant."""

    user_id: str
    at: str
    users: list[SimilarUser]


def similar_users(
    home: Path, run: ServedRun, user: str, k: int, instant: np.datetime64 | None = None
) -> SimilarUsers:
    """Find the users whose states are nearest.

    Parameters
    ----------
    home
        Home of the run.
    run
        A run with a sequence model.
    user
        Whose neighbours.
    k
        How many.
    instant
        Everybody as he was then; the log's end without it.

    Raises
    ------
    BadInput
        When the run has no encoder, or the user no event at the instant.

    Notes
    -----
    Exact: every user is encoded and compared. States, not histories, are compared: who did the same
    in another order or at another pace is another.
    """
    if not isinstance(run.model, Served):
        raise BadInput(
            f"run {run.name} ({run.model.name}) has no sequence model to compare users by; "
            "run trainer fit model=recurrent"
        )
    events = read_label_table(labels_dir(home).resolve(), "events", Sequences.COLUMNS)
    sequences = Sequences.from_events(events)
    assert sequences.instants is not None
    if instant is None:
        instant = sequences.instants.max() if len(sequences) else np.datetime64(0, "us")
    known = np.concatenate([[0], np.cumsum(sequences.instants <= instant)])
    counts = known[sequences.offsets[1:]] - known[sequences.offsets[:-1]]
    there = np.flatnonzero(counts > 0)
    place = np.flatnonzero(sequences.users[there] == user)
    if not len(place):
        raise BadInput(f"--user: no event of {user!r} is known at {show_instant(instant)}")
    first = sequences.offsets[there]
    states = run.model.encode(sequences, first, first + counts[there] - 1)
    chances = cosines(states, states[place[0]])
    chances[place[0]] = -np.inf  # nobody is his own neighbour
    order = np.lexsort((there, -chances))[: min(k, len(there) - 1)]
    return SimilarUsers(
        user_id=user,
        at=show_instant(instant),
        users=[
            SimilarUser(
                str(sequences.users[there[row]]), float(chances[row]), int(counts[there[row]])
            )
            for row in order
        ],
    )


def cosines(states: NDArray[np.float32], state: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of the angle between each state and one; 0 for a state of zeros; # [users]."""
    every, one = states.astype(np.float64), state.astype(np.float64)
    lengths = np.linalg.norm(every, axis=1) * np.linalg.norm(one)
    return (every @ one) / np.where(lengths > 0, lengths, 1.0)
