"""Global time split: who may be learned from, who is only judged.

Notes
-----
Two cuts, ``train_end`` and ``valid_end``. A row of the training part lies at or before
``train_end - purge`` and its label was already known at the last event at or before
``train_end``. The end of the log is an event, so a log that loses every later event gives the
same training rows: the weights stay bit-identical. The cuts themselves must then stand in the
dataset file; where they follow from quantiles of the events, deleting events moves them.

Early stopping needs rows that training does not see. Taking them from the validation part would
let events after ``train_end`` choose the epoch and so the weights. They are therefore carved out
of the training part, in time (its last share) or by users; the validation part only reports. When
they have chosen, a network learns anew from them too (:mod:`trainer.refitting`).

Users can be held out whole, beside the cuts in time (:mod:`trainer.held_out`): training then knows
no event of theirs, and the validation and the test part are of nobody else.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.instants import (
    Instants,
    parse_duration,
    parse_instant,
    show_duration,
    show_instant,
)

TRAIN_SHARE, VALID_SHARE = 0.70, 0.85


@dataclass(frozen=True)
class Cuts:
    """The two cuts in time and the purge before each."""

    train_end: np.datetime64
    valid_end: np.datetime64
    train_purge: np.timedelta64
    valid_purge: np.timedelta64
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The cuts as text, for ``split.json``."""
        return {
            "train_end": str(self.train_end),
            "valid_end": str(self.valid_end),
            "train_purge": show_duration(self.train_purge),
            "valid_purge": show_duration(self.valid_purge),
            "notes": list(self.notes),
        }


def quantile_cut(events: Instants, share: float) -> np.datetime64:
    """The instant at or before which the first ``share`` of the events lie.

    Parameters
    ----------
    events
        # [events], ascending
    share
        Between 0 and 1.
    """
    return events[max(int(np.ceil(share * len(events))) - 1, 0)]


def label_known(next_state_at: Instants, events: Instants, end: np.datetime64) -> NDArray[np.bool_]:
    """Which labels were known at the last event at or before ``end``.

    Parameters
    ----------
    next_state_at
        # [rows], NaT where the label is null
    events
        # [events], ascending
    end
        A cut.
    """
    place = np.searchsorted(events, end, side="right")
    if place == 0:
        return np.zeros(len(next_state_at), dtype=bool)
    return next_state_at <= events[place - 1]


@dataclass(frozen=True)
class Parts:
    """Which rows belong to which part; # [rows] each."""

    train: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    test: NDArray[np.bool_]

    def holding_out(self, held_out: NDArray[np.bool_]) -> Parts:
        """The parts with the rows of those held out kept from training, and theirs alone judged."""
        return Parts(self.train & ~held_out, self.valid & held_out, self.test & held_out)


def choose_cuts(
    instants: Instants,
    next_state_at: Instants,
    events: Instants,
    longest_horizon: np.timedelta64,
    session_gap: np.timedelta64,
    train_end: np.datetime64 | None = None,
    valid_end: np.datetime64 | None = None,
) -> Cuts:
    """Settle the cuts and the purge before each.

    The purge is the longest horizon of any label, and at least a session gap. On a log that is
    too short for it, the purge of that part is the session gap, and a note says so: the next
    action itself needs no more, because a label must be known before the cut anyway.

    Parameters
    ----------
    instants, next_state_at
        # [rows] of the spine; ``next_state_at`` is NaT where the label is null
    events
        # [events], ascending
    longest_horizon, session_gap
        From the dataset file.
    train_end, valid_end
        From the dataset file, or ``None`` for the quantiles of the events.
    """
    if len(events) == 0:
        raise BadInput("labels/events.parquet has no rows; the log gave no accepted event")
    train_end = quantile_cut(events, TRAIN_SHARE) if train_end is None else train_end
    valid_end = quantile_cut(events, VALID_SHARE) if valid_end is None else valid_end
    if valid_end < train_end:
        raise BadInput(
            f"split: valid_end {show_instant(valid_end)} lies before train_end "
            f"{show_instant(train_end)}; correct the dataset file"
        )
    purge = max(longest_horizon, session_gap)
    notes = []
    purges = {}
    for part, start, end in (("train", None, train_end), ("valid", train_end, valid_end)):
        rows = _between(instants, next_state_at, events, start, end, purge)
        purges[part] = purge
        if purge > session_gap and not rows.any():
            purges[part] = session_gap
            notes.append(
                f"the {part} part is shorter than its purge of {show_duration(purge)}; "
                f"it is purged by the session gap of {show_duration(session_gap)} instead"
            )
    return Cuts(train_end, valid_end, purges["train"], purges["valid"], tuple(notes))


def split_rows(instants: Instants, next_state_at: Instants, events: Instants, cuts: Cuts) -> Parts:
    """Part the rows of the spine by the cuts; a row in a purge gap belongs to no part."""
    return Parts(
        train=_between(instants, next_state_at, events, None, cuts.train_end, cuts.train_purge),
        valid=_between(
            instants, next_state_at, events, cuts.train_end, cuts.valid_end, cuts.valid_purge
        ),
        test=(instants > cuts.valid_end) & ~np.isnat(next_state_at),
    )


def split_conversions(
    instants: Instants,
    labels: NDArray[np.float32],
    horizon: np.timedelta64,
    events: Instants,
    cuts: Cuts,
) -> Parts:
    """Part the rows by the cuts for the label of a conversion within a horizon.

    Parameters
    ----------
    instants, labels
        # [rows] of the spine; a label is NaN where the log ends before the horizon
    horizon
        A row before a cut belongs to its part only where the whole horizon lies before it.
    events
        # [events], ascending
    cuts
        The cuts and their purges.
    """
    known = ~np.isnan(labels)
    train = horizon_known(instants, horizon, events, cuts.train_end)
    valid = horizon_known(instants, horizon, events, cuts.valid_end)
    return Parts(
        train=known & train & (instants <= cuts.train_end - cuts.train_purge),
        valid=known
        & valid
        & (instants > cuts.train_end)
        & (instants <= cuts.valid_end - cuts.valid_purge),
        test=known & (instants > cuts.valid_end),
    )


def split_waits(instants: Instants, events: Instants, cuts: Cuts) -> Parts:
    """Part the rows by the cuts for the time to the next event.

    A row needs no label: that nothing came until the part's end is known too. It needs time in
    which something could have come.

    Parameters
    ----------
    instants
        # [rows] of the spine
    events
        # [events], ascending
    cuts
        The cuts and their purges.
    """
    before_train = instants <= cuts.train_end - cuts.train_purge
    before_valid = instants <= cuts.valid_end - cuts.valid_purge
    return Parts(
        train=before_train & (instants < last_event(events, cuts.train_end)),
        valid=before_valid
        & (instants > cuts.train_end)
        & (instants < last_event(events, cuts.valid_end)),
        test=(instants > cuts.valid_end) & (instants < last_event(events)),
    )


def last_event(events: Instants, end: np.datetime64 | None = None) -> np.datetime64:
    """The last event at or before ``end``, or of all; NaT where there is none.

    Parameters
    ----------
    events
        # [events], ascending
    end
        A cut.
    """
    place = len(events) if end is None else int(np.searchsorted(events, end, side="right"))
    return events[place - 1] if place else np.datetime64("NaT", "us")


def horizon_known(
    instants: Instants, horizon: np.timedelta64, events: Instants, end: np.datetime64
) -> NDArray[np.bool_]:
    """Where the horizon had passed at the last event at or before ``end``; # [rows]."""
    place = np.searchsorted(events, end, side="right")
    if place == 0:
        return np.zeros(len(instants), dtype=bool)
    return instants + horizon <= events[place - 1]


def stopping_rows(
    instants: Instants,
    next_state_at: Instants,
    events: Instants,
    users: NDArray,
    by: Literal["time", "user"],
    share: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Carve the rows of early stopping out of the training part.

    Parameters
    ----------
    instants, next_state_at
        # [rows] of the training part
    events
        # [events], ascending
    users
        # [rows], user identifiers
    by
        ``time``: the last ``share`` of the training part, and the rows whose labels reach into it
        belong to neither. ``user``: a share of the users, by a hash of their identifiers, so that
        other users neither join nor leave when one is added.
    share
        Between 0 and 1; 0 carves nothing.

    Returns
    -------
    fit, stop
        # [rows] each, disjoint
    """
    if share <= 0 or len(instants) == 0:
        return np.ones(len(instants), dtype=bool), np.zeros(len(instants), dtype=bool)
    if by == "user":
        stop = users_held_out(users, share)
        return ~stop, stop
    cut = quantile_cut(np.sort(instants), 1 - share)
    stop = instants > cut
    fit = ~stop & label_known(next_state_at, events, cut)
    return fit, stop


def users_held_out(users: NDArray, share: float, salt: str = "") -> NDArray[np.bool_]:
    """Rows of a share of the users, by a hash of their identifiers; # [rows].

    Two choices with other salts are independent of each other.
    """
    names, inverse = np.unique(users.astype(str), return_inverse=True)
    hashes = [zlib.crc32((salt + name).encode()) % 10_000 for name in names]
    hashed = np.array(hashes, dtype=np.int64)
    return (hashed < share * 10_000)[inverse]


def read_cuts(content: dict[str, Any]) -> Cuts:
    """The cuts out of ``split.json``."""
    return Cuts(
        train_end=parse_instant(content["train_end"], "train_end"),
        valid_end=parse_instant(content["valid_end"], "valid_end"),
        train_purge=parse_duration(content["train_purge"], "train_purge"),
        valid_purge=parse_duration(content["valid_purge"], "valid_purge"),
        notes=tuple(content["notes"]),
    )


def _between(
    instants: Instants,
    next_state_at: Instants,
    events: Instants,
    start: np.datetime64 | None,
    end: np.datetime64,
    purge: np.timedelta64,
) -> NDArray[np.bool_]:
    inside = (instants <= end - purge) & label_known(next_state_at, events, end)
    return inside if start is None else inside & (instants > start)
