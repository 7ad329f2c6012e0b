"""Rows to rank for: what a user did until an instant, and what he did next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.instants import Instants
from trainer.ranking.arrays import Codes
from trainer.ranking.log import UNKNOWN, TargetLog
from trainer.splits import Parts, split_rows

if TYPE_CHECKING:
    from trainer.examples import Dataset


@dataclass(frozen=True)
class RankingRows:
    """Instants of users, and which value comes next.

    Attributes
    ----------
    log
        Events of everybody; a row may use those at or before its instant.
    owners
        # [rows], the user of each row as an index into ``log.users``; their number for somebody
        whom the log does not know
    ends
        # [rows], flat position in :attr:`history` after the user's last event known at the instant
    instants
        # [rows]
    targets
        # [rows], the value of the next event; -1 where nobody knows
    own
        One user's own events, numbered as `log`, where they are newer than `log`; his rows alone
        are asked then.
    """

    log: TargetLog
    owners: Codes
    ends: Codes
    instants: Instants
    targets: Codes
    own: TargetLog | None = None

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def history(self) -> TargetLog:
        """The users' own events."""
        return self.log if self.own is None else self.own

    @property
    def first(self) -> Codes:
        """Flat position in :attr:`history` of the first event of each row's user."""
        if self.own is not None:
            return np.zeros(len(self), dtype=np.int64)
        return self.log.offsets[self.owners]

    @property
    def known(self) -> Codes:
        """Size of the catalogue at each row's instant."""
        return self.log.known_at(self.instants)

    def take(self, rows: NDArray) -> RankingRows:
        """The rows that a mask or an index array chooses."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            owners=self.owners[chosen],
            ends=self.ends[chosen],
            instants=self.instants[chosen],
            targets=self.targets[chosen],
        )


@dataclass(frozen=True)
class Ranking:
    """One target of a dataset: its rows at event instants, parted as everything else is.

    Attributes
    ----------
    target
        ``item`` or ``category``.
    rows
        Every row of the dataset's examples.
    parts
        Which of them belong to which part; # [rows] each.
    trained
        Values of the training part: they are the first ones, see :mod:`trainer.ranking.log`.
    """

    target: str
    rows: RankingRows
    parts: Parts
    trained: int

    @property
    def task(self) -> str:
        """Name in ``metrics.json``."""
        return f"next_{self.target}"

    @property
    def train(self) -> RankingRows:
        """The training part."""
        return self.rows.take(self.parts.train)

    @property
    def valid(self) -> RankingRows:
        """The validation part."""
        return self.rows.take(self.parts.valid)

    @property
    def test(self) -> RankingRows:
        """The test part."""
        return self.rows.take(self.parts.test)


def make_rankings(dataset: Dataset, logs: Mapping[str, TargetLog]) -> dict[str, Ranking]:
    """Say of each of a dataset's examples which value comes next.

    Parameters
    ----------
    dataset
        Examples with their parts.
    logs
        The log by target; the same log as the examples', or the positions would not fit.
    """
    return {target: _make(target, dataset, log) for target, log in logs.items()}


def _make(target: str, dataset: Dataset, log: TargetLog) -> Ranking:
    examples, cuts = dataset.examples, dataset.cuts
    following = examples.ends < log.offsets[examples.owners + 1]
    place = np.where(following, examples.ends, 0)
    targets = np.where(following, log.codes[place], UNKNOWN)
    next_at = np.where(following, log.instants[place], np.datetime64("NaT"))
    rows = RankingRows(log, examples.owners, examples.ends, examples.instants, targets)
    parts = split_rows(examples.instants, next_at, np.sort(log.instants), cuts)
    # Landmarks are as many as one makes them: who comes back is asked at his last event.
    asked = (targets >= 0) & ~examples.landmarks
    parts = Parts(parts.train & asked, parts.valid & asked, parts.test & asked)
    return Ranking(target, rows, parts, int(log.known_at(np.array([cuts.train_end]))[0]))
