"""Roll-ups of a user by UTC day and by week: the coarser sequences beside that of the events.

Notes
-----
A roll-up is of a closed period: at an instant, the day (the week, Monday first) that the instant
lies in is still open and none of its events counts, whether they came before it or after.

It is made of the last ``EVENTS`` events, which are what ``user_sequence`` holds: so training,
evaluation, the online store and a stream see the same ones. It is whole or not there: a period
that began before the oldest of these events is left out. What lies further back is in the scales.

The online store has no instant of an event, only that of the last one, in whole seconds, the gaps
and the UTC hours. They give the day of each event exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.columns import Columns as C
from trainer.examples import Examples
from trainer.instants import Instants
from trainer.sequences import MISSING, Sequences
from trainer.vocabulary import places

Period = Literal["day", "week"]
EVENTS = 50  # of user_sequence
MOST = 30  # roll-ups that are read
EXTRA = 2  # numbers of a roll-up beside its actions, and columns beside its state

_HOUR_MS = 3_600_000
_DURATION_SCALE = 0.1  # log1p of an hour in ms is 15


def group_of(period: Period) -> str:
    """The group of columns that a period's state is, beside the scales."""
    return f"coarse_{period}"


@dataclass(frozen=True)
class Rollups:
    """Roll-ups of all users by one period, and which of them each row may read.

    Attributes
    ----------
    numbers
        # [rollups, actions + 2]: log1p of the events of each action, a tenth of log1p of the
        summed duration in ms, and log1p of the periods since the user's roll-up before (0: none)
    begins, ends
        # [rows], the row reads ``begins:ends``, which may be nothing
    ages
        # [rows, 2]: log1p of the periods from the last of them to the instant's, and 1 where there
        is one
    """

    numbers: NDArray[np.float32]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    ages: NDArray[np.float32]

    def batch(self, rows: NDArray[np.int64] | slice) -> RollupBatch:
        """What an encoder reads for some rows; rows that read the same share a sequence."""
        begins, lengths = self.begins[rows], self.ends[rows] - self.begins[rows]
        unique, own = np.unique(begins * (MOST + 1) + lengths, return_inverse=True)
        begins, lengths = unique // (MOST + 1), unique % (MOST + 1)
        steps = np.arange(max(int(lengths.max(initial=0)), 1))
        # Padding repeats the last one, or any where there is none: nobody reads behind a length.
        last = begins + np.maximum(lengths - 1, 0)
        places = np.minimum(begins[:, None] + steps, last[:, None])
        places = np.minimum(places, max(len(self.numbers) - 1, 0))
        numbers = self.numbers[places] if len(self.numbers) else self._nothing(places)
        return RollupBatch(numbers, lengths, own.reshape(-1), self.ages[rows])

    def _nothing(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.zeros((*places.shape, self.numbers.shape[1]), dtype=np.float32)


@dataclass(frozen=True)
class RollupBatch:
    """Padded sequences of roll-ups.

    Attributes
    ----------
    numbers
        # [sequences, time, actions + 2]
    lengths
        # [sequences]
    own
        # [rows], the sequence of each row
    ages
        # [rows, 2], see :class:`Rollups`
    """

    numbers: NDArray[np.float32]
    lengths: NDArray[np.int64]
    own: NDArray[np.int64]
    ages: NDArray[np.float32]


def period_numbers(instants: Instants, period: Period) -> NDArray[np.int64]:
    """Number of the UTC day, or of the week from Monday on, that holds each instant."""
    days = instants.astype("datetime64[D]").astype(np.int64)
    return days if period == "day" else (days + 3) // 7  # 1970-01-01 was a Thursday


def roll_up(examples: Examples, actions: Sequence[str], period: Period) -> Rollups:
    """Roll the users' events up, and find what each row may read.

    Parameters
    ----------
    examples
        Rows; where their sequences hold no instants, see :func:`dated`.
    actions
        The dataset's actions, in declared order.
    period
        By what.
    """
    sequences = dated(examples).sequences
    assert sequences.instants is not None
    periods = period_numbers(sequences.instants, period)
    owners = sequences.owners
    new = np.ones(len(periods), dtype=bool)
    new[1:] = (periods[1:] != periods[:-1]) | (owners[1:] != owners[:-1])
    starts = np.flatnonzero(new)
    of_event = np.cumsum(new) - 1
    numbers = _numbers(sequences, actions, of_event, periods[starts], owners[starts])
    begins, ends = np.zeros((2, len(examples)), dtype=np.int64)
    ages = np.zeros((len(examples), EXTRA), dtype=np.float32)
    known = np.flatnonzero(examples.lengths > 0)
    if len(known):
        asked = period_numbers(examples.instants[known], period)
        last = examples.ends[known] - 1
        oldest = np.maximum(examples.first[known], last - EVENTS + 1)
        # Whether something came before the oldest event in its period, only the log would say.
        cut = sequences.gaps_ms[oldest] != MISSING
        end = of_event[last] + (periods[last] < asked)
        begin = np.maximum(np.minimum(of_event[oldest] + cut, end), end - MOST)
        begins[known], ends[known] = begin, end
        some = begin < end
        age = asked[some] - periods[starts[end[some] - 1]]
        ages[known[some]] = np.column_stack([np.log1p(age), np.ones(len(age))])
    return Rollups(numbers, begins, ends, ages)


def _numbers(
    sequences: Sequences,
    actions: Sequence[str],
    of_event: NDArray[np.int64],
    periods: NDArray[np.int64],
    owners: NDArray[np.int64],
) -> NDArray[np.float32]:
    """See :class:`Rollups`; ``periods`` and ``owners`` are those of the roll-ups."""
    rollups, width = len(periods), len(actions)
    place = places(sequences.actions, tuple(actions))
    known = place >= 0
    cells = of_event[known] * width + place[known]
    counts = np.bincount(cells, minlength=rollups * width).reshape(rollups, width)
    lasted = np.where(sequences.durations_ms == MISSING, 0, sequences.durations_ms)
    durations = np.bincount(of_event, weights=lasted, minlength=rollups)
    since = np.zeros(rollups)
    since[1:] = np.where(owners[1:] == owners[:-1], np.diff(periods), 0)
    return np.column_stack(
        [np.log1p(counts), np.log1p(durations) * _DURATION_SCALE, np.log1p(since)]
    ).astype(np.float32)


def dated(examples: Examples) -> Examples:
    """The same with an instant for each event, right to its UTC hour.

    For rows of the online store, each at the end of a sequence of its own.
    """
    sequences = examples.sequences
    if sequences.instants is not None:
        return examples
    last_at = examples.features[C.LAST_ACTION_AT].combine_chunks().cast(pa.timestamp("us"))
    lasts = np.zeros(len(sequences.users), dtype=np.int64)
    asked = last_at.to_numpy(zero_copy_only=False).astype("datetime64[s]")
    # NaT where a user has no event.
    lasts[examples.owners] = np.where(np.isnat(asked), 0, asked.astype(np.int64)) * 1000
    passed = np.cumsum(np.maximum(sequences.gaps_ms, 0))
    owners = sequences.owners
    end = np.maximum(sequences.offsets[1:] - 1, 0)
    back = passed[end[owners]] - passed if len(passed) else passed
    instants = lasts[owners] - back
    # The second and the gaps are rounded down: near a full hour the hour says on which side.
    hour = instants // _HOUR_MS
    missed = (sequences.hours - hour % 24 + 12) % 24 - 12
    instants = np.where(missed > 0, (hour + missed) * _HOUR_MS, instants)
    instants = np.where(missed < 0, (hour + missed + 1) * _HOUR_MS - 1, instants)
    own = replace(sequences, instants=instants.astype("datetime64[ms]").astype("datetime64[us]"))
    return replace(examples, sequences=own)
