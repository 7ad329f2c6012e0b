"""Records: what each user gives to learn from, in one piece, so that he can be weighed as one.

They are the chunks of :mod:`trainer.chunks`, but one a user and no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.chunks import Chunks
from trainer.tensors import Tensors


@dataclass(frozen=True)
class RecordBatch:
    """Some records, padded.

    Attributes
    ----------
    positions
        # [records, time], flat positions to gather; padding repeats the last one
    steps, examples
        # [records, scored], where each example's last event stands, and which example it is
    real
        # [records, scored], false for padding
    """

    positions: NDArray[np.int64]
    steps: NDArray[np.int64]
    examples: NDArray[np.int64]
    real: NDArray[np.bool_]


def make_records(tensors: Tensors, rows: NDArray[np.int64], scored: int, burn_in: int) -> Chunks:
    """One record for each user of some examples.

    Parameters
    ----------
    tensors
        The data; ``first`` tells whose an example is.
    rows
        The examples that may be scored, each with history.
    scored
        The user's last positions whose examples are scored; earlier examples are left out.
    burn_in
        Positions before them that only warm the state.
    """
    first, last = tensors.first[rows], tensors.last[rows]
    order = np.lexsort((last, first))
    new = np.ones(len(order), dtype=bool)
    new[1:] = first[order][1:] != first[order][:-1]
    record = np.cumsum(new) - 1
    ends = np.append(np.flatnonzero(new)[1:], len(order)) - 1
    final = last[order][ends]  # of each user, where his sequence ends
    kept = last[order] > final[record] - scored
    counts = np.bincount(record[kept], minlength=len(final))
    begins = np.maximum(first[order][ends], final - scored + 1 - burn_in)
    return Chunks(
        starts=begins,
        stops=final + 1,
        order=rows[order][kept],
        bounds=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def pad(records: Chunks, last: NDArray[np.int64], members: NDArray[np.int64]) -> RecordBatch:
    """Some records side by side.

    Parameters
    ----------
    records
        All of them.
    last
        # [examples], flat position of the last event of each example
    members
        # [records of the batch], at least one
    """
    starts, stops = records.starts[members], records.stops[members]
    width = int((stops - starts).max())
    positions = np.minimum(starts[:, None] + np.arange(width), stops[:, None] - 1)
    begins, counts = records.bounds[members], np.diff(records.bounds)[members]
    place = np.arange(int(counts.max()))
    real = place < counts[:, None]
    examples = records.order[np.minimum(begins[:, None] + place, (begins + counts - 1)[:, None])]
    return RecordBatch(positions, last[examples] - starts[:, None], examples, real)
