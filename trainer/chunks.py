"""Cutting flat sequences into pieces that a recurrent network can learn from in batches.

Notes
-----
A long history is cut into chunks of ``chunk`` positions. Each is preceded by ``burn_in`` positions
that warm the state and are never scored, so that a position in training sees at least as many
events as a prediction does. Chunks of like length share a batch, padded on the right: a causal
network's output at a real position does not see the padding, and nothing needs packing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_POOL = 16  # batches whose chunks are sorted by length together


@dataclass(frozen=True)
class Chunks:
    """Pieces of flat sequences and the examples that are scored in each.

    Attributes
    ----------
    starts, stops
        # [chunks], flat positions; the network reads ``starts:stops``
    order
        # [examples], the examples, those of one chunk together
    bounds
        # [chunks + 1]; the examples of chunk ``c`` are ``order[bounds[c]:bounds[c + 1]]``
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes
    ----------
    positions
        # [rows, time], flat positions to gather; padding repeats the last real one
    examples
        # [scored], indices of examples
    rows, steps
        # [scored], where in the batch each example's last event stands
    """

    positions: NDArray[np.int64]
    examples: NDArray[np.int64]
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]


def make_chunks(
    first: NDArray[np.int64], last: NDArray[np.int64], chunk: int, burn_in: int
) -> Chunks:
    """Lay out the chunks that score every example exactly once.

    Parameters
    ----------
    first
        # [examples], flat position of the first event of the example's user
    last
        # [examples], flat position of the last event that the example knows
    chunk, burn_in
        Positions scored, and positions before them that warm the state.
    """
    number = (last - first) // chunk
    order = np.lexsort((last, number, first))
    keys = np.stack([first[order], number[order]])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    bounds = np.append(np.flatnonzero(new), len(order))
    owner, place = keys[0, bounds[:-1]], keys[1, bounds[:-1]]
    starts = np.maximum(owner, owner + place * chunk - burn_in)
    # Nothing after the last scored position is read.
    stops = last[order][bounds[1:] - 1] + 1
    return Chunks(starts, stops, order, bounds)


def make_windows(
    first: NDArray[np.int64], last: NDArray[np.int64], window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The last ``window`` events of each example, as every prediction reads them.

    Returns
    -------
    positions
        # [examples, window], flat positions; padding on the right repeats the last one
    lengths
        # [examples]
    """
    starts = np.maximum(first, last - window + 1)
    positions = np.minimum(starts[:, None] + np.arange(window), last[:, None])
    return positions, last - starts + 1


@dataclass(frozen=True)
class Share:
    """What one of several processes has of the chunks that all of them lay out.

    Attributes
    ----------
    lengths
        # [chunks of all]
    places
        # [chunks of all], the place among the process' own chunks; -1 for another's
    """

    lengths: NDArray[np.int64]
    places: NDArray[np.int64]


def batches(
    chunks: Chunks,
    last: NDArray[np.int64],
    size: int,
    random: np.random.Generator | None = None,
    share: Share | None = None,
) -> Iterator[Batch]:
    """Batches of chunks of like length.

    Parameters
    ----------
    chunks
        The layout.
    last
        # [examples], flat position of the last event of each example
    size
        Chunks in a batch.
    random
        Shuffles chunks and batches; ``None`` keeps a fixed order.
    share
        Where the chunks are one process' share: the batches are laid out of those of all, and of
        each only the own chunks are given, which may be none.
    """
    lengths = chunks.stops - chunks.starts if share is None else share.lengths
    shuffled = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    pool = size * _POOL
    groups = []
    for begin in range(0, len(shuffled), pool):
        members = shuffled[begin : begin + pool]
        members = members[np.argsort(lengths[members], kind="stable")]
        groups += [members[place : place + size] for place in range(0, len(members), size)]
    sequence = range(len(groups)) if random is None else random.permutation(len(groups))
    for group in sequence:
        members = groups[group]
        if share is not None:
            members = share.places[members]
            members = members[members >= 0]
        yield _assemble(chunks, last, members)


def count_batches(chunks: Chunks, size: int) -> int:
    """How many batches :func:`batches` gives."""
    return -(-len(chunks) // size)


def _assemble(chunks: Chunks, last: NDArray[np.int64], members: NDArray[np.int64]) -> Batch:
    starts, stops = chunks.starts[members], chunks.stops[members]
    width = int((stops - starts).max(initial=0))
    positions = np.minimum(starts[:, None] + np.arange(width), stops[:, None] - 1)
    counts = chunks.bounds[members + 1] - chunks.bounds[members]
    rows = np.repeat(np.arange(len(members)), counts)
    begin = np.repeat(chunks.bounds[members] - np.cumsum(counts) + counts, counts)
    examples = chunks.order[begin + np.arange(len(rows))]
    return Batch(positions, examples, rows, last[examples] - starts[rows])
