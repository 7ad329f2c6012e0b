"""Users that are held out whole: how a model does for people, or places, that it never saw.

Notes
-----
The cuts in time stand as they are. Of those held out, no event is in the training part, in a
vocabulary, in a moment or in a population's count, and deleting all of them leaves the weights
bit-identical. Who is held out follows from a hash, so that nobody changes sides because somebody
joined.

A location holds out the users whose events are there most often. For users with an event at or
before ``train_end``, events until then decide: later ones must not choose who is learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.config import SplitConfig
from trainer.labels import Labels, read_label_table
from trainer.splits import users_held_out

_SALT = "split:"  # apart from the users that early stopping and calibration take

HoldOut = Callable[[Labels, np.datetime64], NDArray[np.bool_]]


def holder(folder: Path, config: SplitConfig) -> HoldOut | None:
    """What chooses the users that are held out; ``None`` where the split is by time alone.

    Parameters
    ----------
    folder
        ``<home>/labels``.
    config
        By what, and how many.

    Returns
    -------
    choose
        Takes the labels and ``train_end``, gives # [users] of the labels' sequences.
    """
    if config.by == "time":
        return None

    def choose(labels: Labels, train_end: np.datetime64) -> NDArray[np.bool_]:
        users = labels.sequences.users
        if config.by == "users":
            held_out = users_held_out(users, config.share, _SALT)
        else:
            locations = modal_locations(
                read_label_table(folder, "events", [C.USER, C.INSTANT, C.LOCATION]),
                users,
                train_end,
            )
            known = pc.is_valid(locations).to_numpy(zero_copy_only=False)
            held_out = np.zeros(len(users), dtype=bool)
            names = np.array(locations.drop_null().to_pylist(), dtype=object)
            if len(names):
                held_out[known] = users_held_out(names, config.share, _SALT)
        if not held_out.any() or held_out.all():
            raise BadInput(
                f"split.by={config.by}: a share of {config.share:g} holds out "
                f"{int(held_out.sum())} of {len(users)} users; choose another split.share"
            )
        return held_out

    return choose


def modal_locations(
    events: pa.Table, users: NDArray, train_end: np.datetime64
) -> pa.StringArray | pa.ChunkedArray:
    """Where each user mostly is; # [users], null where no event says.

    Parameters
    ----------
    events
        The published events.
    users
        # [users], ascending
    train_end
        Events until then decide, for users who have any; of equally frequent locations, the first
        by name is taken.
    """
    owners = np.searchsorted(users, np.array(events[C.USER].to_pylist(), dtype=object))
    instants = events[C.INSTANT].to_numpy().astype("datetime64[us]")
    early = instants <= train_end
    seen = np.zeros(len(users), dtype=bool)
    seen[owners[early]] = True
    column = events[C.LOCATION].combine_chunks()
    counts = early | ~seen[owners]
    counts &= pc.is_valid(column).to_numpy(zero_copy_only=False)
    names = np.unique(np.array(column.drop_null().to_pylist(), dtype=str))
    places = np.full(len(users), -1)
    if counts.any():
        chosen = np.array(column.filter(pa.array(counts)).to_pylist(), dtype=str)
        pairs, times = np.unique(
            np.column_stack([owners[counts], np.searchsorted(names, chosen)]),
            axis=0,
            return_counts=True,
        )
        # The most frequent place of a user comes last, of equal ones the first by name.
        order = np.lexsort((-pairs[:, 1], times, pairs[:, 0]))
        places[pairs[order, 0]] = pairs[order, 1]
    return pa.array([None if place < 0 else str(names[place]) for place in places], pa.string())
