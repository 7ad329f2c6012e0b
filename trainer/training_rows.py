"""The rows of an epoch, in batches: held in memory where they fit, else read from row groups.

Notes
-----
Users are cut into groups, a Parquet row group each. An epoch reads them in a random order, as many
at a time as a buffer holds, and shuffles within the buffer. Rows that fit into one buffer are one
buffer, stay in memory, and are shuffled as a whole: the batches are the same wherever they lie.

Where several processes train together, each holds its share of a buffer's users. All lay out the
same batches of all users' chunks, and each computes its own part of every batch: so the sum over
the processes is what one process computes, batch by batch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.chunks import Batch, Chunks, Share, batches, count_batches, make_chunks
from trainer.config import FitConfig
from trainer.rollups import Rollups
from trainer.row_groups import Arrays, RowGroups, RowGroupWriter
from trainer.team import ALONE, Team
from trainer.tensors import Targets, Tensors

BUFFER_BYTES = 256 * 2**20  # of a buffer's rows
GROUPS = 16  # row groups of a buffer, or so
_LAYOUT = "layout.json"
_EVENTS, _EXAMPLES = "events", "examples"
_OF_EVENTS = ("actions", "items", "categories", "locations", "numbers")
_OF_TARGETS = ("next_action", "conversions", "next_time")
_PLACES = ("first", "last")


@dataclass(frozen=True)
class Part:
    """What a process holds at a time.

    Attributes
    ----------
    tensors, targets
        Events and examples, and how much their labels count.
    rows
        Those of the examples of which a label counts.
    chunks
        Chunks in which each of the rows is scored once.
    share
        Where others hold chunks too, see :func:`trainer.chunks.batches`.
    """

    tensors: Tensors
    targets: Targets
    rows: NDArray[np.int64]
    chunks: Chunks
    share: Share | None = None

    def batches(self, size: int, random: np.random.Generator | None) -> Iterator[Batch]:
        """Batches of chunks."""
        return batches(self.chunks, self.tensors.last[self.rows], size, random, self.share)


class Rows(Protocol):
    """Rows to learn from, or to choose an epoch by."""

    @property
    def device(self) -> torch.device:
        """Where their tensors are."""

    def epoch(
        self, size: int, random: np.random.Generator | None = None
    ) -> tuple[int, Iterator[tuple[Part, Batch]]]:
        """How many batches of so many chunks there are, and the batches; fixed without random."""


class HeldRows:
    """Rows in memory.

    Parameters
    ----------
    tensors, targets
        See :class:`Part`.
    config
        Chunks and what warms them.
    """

    def __init__(self, tensors: Tensors, targets: Targets, config: FitConfig) -> None:
        rows = targets.rows
        chunks = make_chunks(tensors.first[rows], tensors.last[rows], config.chunk, config.burn_in)
        self.part = Part(tensors, targets, rows, chunks)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.part.tensors.context.device

    def epoch(
        self, size: int, random: np.random.Generator | None = None
    ) -> tuple[int, Iterator[tuple[Part, Batch]]]:
        """See :class:`Rows`."""
        part = self.part
        return count_batches(part.chunks, size), ((part, b) for b in part.batches(size, random))


class StoredRows:
    """Rows in a folder that :func:`store_rows` wrote.

    Parameters
    ----------
    folder
        The folder.
    config
        Chunks and what warms them.
    device
        Where their tensors go.
    team
        The processes that share the rows.
    """

    def __init__(
        self, folder: Path, config: FitConfig, device: torch.device, team: Team = ALONE
    ) -> None:
        self.device = device
        self._config = config
        self._team = team
        layout = json.loads((folder / _LAYOUT).read_text())
        self._groups: list[int] = layout["chunks"]
        self._buffer_rows: int = layout["buffer_rows"]
        self._events = RowGroups(folder / f"{_EVENTS}.parquet")
        self._examples = RowGroups(folder / f"{_EXAMPLES}.parquet")
        self._periods = [RowGroups(path) for path in sorted(folder.glob("rollups_*.parquet"))]
        self._whole: Part | None = None  # where one buffer holds all

    def epoch(
        self, size: int, random: np.random.Generator | None = None
    ) -> tuple[int, Iterator[tuple[Part, Batch]]]:
        """See :class:`Rows`."""
        order = list(range(len(self._groups)))
        if random is not None and sum(self._examples.rows) > self._buffer_rows:
            order = random.permutation(len(order)).tolist()
        buffers = self._buffers(order)
        steps = sum(-(-sum(self._groups[group] for group in b) // size) for b in buffers)

        def laid_out() -> Iterator[tuple[Part, Batch]]:
            for buffer in buffers:
                part = self._part(buffer)
                for batch in part.batches(size, random):
                    yield part, batch

        return steps, laid_out()

    def _buffers(self, order: list[int]) -> list[list[int]]:
        """As many groups at a time as a buffer holds, in the order given; ascending in a buffer."""
        buffers: list[list[int]] = [[]]
        held = 0
        for group in order:
            if buffers[-1] and held + self._examples.rows[group] > self._buffer_rows:
                buffers.append([])
                held = 0
            buffers[-1].append(group)
            held += self._examples.rows[group]
        return [sorted(buffer) for buffer in buffers]

    def _part(self, groups: list[int]) -> Part:
        if self._whole is not None:
            return self._whole
        part = self._read(groups)
        if len(groups) == len(self._groups):
            self._whole = part
        return part

    def _read(self, groups: list[int]) -> Part:
        team, config = self._team, self._config
        own = groups[team.rank :: team.size]
        tensors, targets = self._tensors(own)
        rows = np.arange(len(tensors.last))
        chunks = make_chunks(tensors.first, tensors.last, config.chunk, config.burn_in)
        share = None
        if team.size > 1:
            places = self._examples.read(groups, _PLACES)
            of_row = np.repeat(groups, [self._examples.rows[group] for group in groups])
            shift = _shifts(groups, self._events.rows)
            first, last = (places[name] + shift[of_row] for name in _PLACES)
            every = make_chunks(first, last, config.chunk, config.burn_in)
            is_own = np.isin(of_row[every.order[every.bounds[:-1]]], own)
            share = Share(every.stops - every.starts, np.where(is_own, np.cumsum(is_own) - 1, -1))
        return Part(tensors.to(self.device), targets.to(self.device), rows, chunks, share)

    def _tensors(self, groups: list[int]) -> tuple[Tensors, Targets]:
        events, examples = self._events.read(groups), self._examples.read(groups)
        of_row = np.repeat(groups, [self._examples.rows[group] for group in groups])
        of_row = of_row.astype(np.int64)
        shift = _shifts(groups, self._events.rows)
        places = {name: examples.pop(name) + shift[of_row] for name in _PLACES}
        rollups = []
        for number, period in enumerate(self._periods):
            moved = _shifts(groups, period.rows)[of_row]
            rollups.append(
                Rollups(
                    period.read(groups)["numbers"],
                    examples.pop(f"begins_{number}") + moved,
                    examples.pop(f"ends_{number}") + moved,
                    examples.pop(f"ages_{number}"),
                )
            )
        targets = Targets(
            **{name: torch.from_numpy(examples.pop(f"counts_{name}")) for name in _OF_TARGETS}
        )
        given: dict[str, Any] = {
            name: torch.from_numpy(each) for name, each in (events | examples).items()
        }
        return Tensors(**given, **places, rollups=tuple(rollups)), targets


def _shifts(groups: Sequence[int], sizes: Sequence[int]) -> NDArray[np.int64]:
    """By group: how much lies before it, where these groups are read one after the other."""
    shifts = np.zeros(len(sizes), dtype=np.int64)
    shifts[list(groups)] = np.cumsum([0, *(sizes[group] for group in groups[:-1])])
    return shifts


def store_rows(
    folder: Path,
    owners: NDArray[np.int64],
    buffer_rows: int,
    encoded: Callable[[slice], tuple[Tensors, Targets]],
    config: FitConfig,
) -> None:
    """Write rows by groups of users.

    Parameters
    ----------
    folder
        A folder that is not there yet.
    owners
        # [rows], the user of each, ascending
    buffer_rows
        Rows that are held at a time. A user is in one group, so one with more is a buffer alone.
    encoded
        Gives the tensors of some rows that follow each other, with the users' events and no
        others, and how much their labels count, each at least one.
    config
        Chunks and what warms them.
    """
    assert np.all(owners[1:] >= owners[:-1])
    group_rows = max(min(buffer_rows, len(owners)) // GROUPS, 1)
    folder.mkdir(parents=True)
    users = np.flatnonzero(np.diff(owners, prepend=-1))  # the first row of each
    begin, chunks = 0, []
    with contextlib.ExitStack() as files:

        def writer(name: str) -> RowGroupWriter:
            return files.enter_context(RowGroupWriter(folder / f"{name}.parquet"))

        events, examples = writer(_EVENTS), writer(_EXAMPLES)
        periods: list[RowGroupWriter] = []
        while begin < len(owners):
            after = int(np.searchsorted(users, begin + group_rows))
            end = int(users[after]) if after < len(users) else len(owners)
            tensors, targets = encoded(slice(begin, end))
            first, last = tensors.first, tensors.last
            chunks.append(len(make_chunks(first, last, config.chunk, config.burn_in)))
            events.write({name: getattr(tensors, name).numpy() for name in _OF_EVENTS})
            examples.write(_example_arrays(tensors, targets))
            for number, rollups in enumerate(tensors.rollups):
                if number == len(periods):
                    periods.append(writer(f"rollups_{number}"))
                periods[number].write({"numbers": rollups.numbers})
            begin = end
    layout = {"buffer_rows": buffer_rows, "chunks": chunks}
    (folder / _LAYOUT).write_text(json.dumps(layout))


def _example_arrays(tensors: Tensors, targets: Targets) -> Arrays:
    arrays = {
        name: getattr(tensors, name).numpy()
        for name in ("context", "closed", "labels", "conversions", "waits", "watched")
    }
    arrays |= {"first": tensors.first, "last": tensors.last}
    for number, rollups in enumerate(tensors.rollups):
        arrays |= {
            f"begins_{number}": rollups.begins,
            f"ends_{number}": rollups.ends,
            f"ages_{number}": rollups.ages,
        }
    return arrays | {f"counts_{name}": getattr(targets, name).numpy() for name in _OF_TARGETS}
