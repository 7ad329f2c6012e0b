"""What a fit keeps of the rows that it learned from, so that later ones can be compared with them.

The run's folder holds it, as ``reference.json``: the log may have been pruned since, or its late
events may have come, and a comparison with what is left would be with something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.config import MonitorConfig
from trainer.examples import Dataset, Examples
from trainer.features import Feature
from trainer.instants import parse_duration, parse_instant, show_duration, show_instant
from trainer.models.base import Predicting, read_json
from trainer.monitoring.bins import Bins, feature_columns
from trainer.monitoring.performance import Answers, Performance, label_columns, performances
from trainer.monitoring.rows import Periods, one_a_user
from trainer.runs import REFERENCE


@dataclass(frozen=True)
class Reference:
    """Histograms of the training part by period, and figures of the validation part.

    Attributes
    ----------
    periods
        Whole periods before the training part's last row.
    users
        # [periods], rows of each: one a user
    users_since
        # [periods], different users from each period on
    lags
        # [periods, periods], users of each of the training part's periods by how many periods ago
        their first event was; the last column is of what is older still
    bins
        Of each column.
    counts
        # [periods, bins], one a column
    performance
        Of the validation part, which the model did not learn from, by task.
    """

    periods: Periods
    users: NDArray[np.int64]
    users_since: NDArray[np.int64]
    lags: NDArray[np.int64]
    bins: tuple[Bins, ...]
    counts: tuple[NDArray[np.int64], ...]
    performance: dict[str, Performance]

    def since(self, length: np.timedelta64 | None) -> Reference:
        """The last periods alone, of about this length together; all of them without it."""
        kept = self.periods.count
        if length is not None:
            kept = int(np.clip(-(-length // self.periods.length), 1, kept))
        drop = self.periods.count - kept
        begin = self.periods.start + self.periods.length * drop
        return Reference(
            Periods(begin, self.periods.length, kept),
            self.users[drop:],
            self.users_since[drop:],
            self.lags,
            self.bins,
            tuple(counts[drop:] for counts in self.counts),
            self.performance,
        )

    def new_within(self, length: np.timedelta64) -> float | None:
        """Share of a period's users whose first event lies less than so far behind its end.

        Of the periods that had so much of the log before them; of those that had most, where none
        had. ``None`` without any user.
        """
        every = len(self.lags)
        lag = int(np.clip(-(-length // self.periods.length), 1, max(every - 1, 1)))
        counted = self.lags[min(lag, every - 1) :]
        users = counted.sum()
        return float(counted[:, :lag].sum() / users) if users else None

    def to_json(self) -> dict[str, Any]:
        """The reference as plain values."""
        return {
            "start": show_instant(self.periods.start),
            "period": show_duration(self.periods.length),
            "users": self.users.tolist(),
            "users_since": self.users_since.tolist(),
            "lags": self.lags.tolist(),
            "columns": [
                {**bins.to_json(), "counts": counts.tolist()}
                for bins, counts in zip(self.bins, self.counts, strict=True)
            ],
            "performance": {task: each.to_json() for task, each in self.performance.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Reference:
        """The reference that :meth:`to_json` described."""
        start = parse_instant(content["start"].removesuffix(" UTC"), "start")
        length = parse_duration(content["period"], "period")
        return cls(
            periods=Periods(start, length, len(content["users"])),
            users=np.array(content["users"]),
            users_since=np.array(content["users_since"]),
            lags=np.array(content["lags"]),
            bins=tuple(Bins.from_json(each) for each in content["columns"]),
            counts=tuple(np.array(each["counts"]) for each in content["columns"]),
            performance={
                task: Performance.from_json(each) for task, each in content["performance"].items()
            },
        )


def make_reference(
    dataset: Dataset,
    model: Predicting,
    features: Sequence[Feature],
    config: MonitorConfig,
    train: Examples | None = None,
) -> Reference:
    """Count the training part, one row a user and period, and judge the validation part.

    Parameters
    ----------
    dataset
        What was learned from.
    model
        What was fitted.
    features
        What it reads.
    config
        Length of a period, and bins.
    train
        The training part, where somebody has taken it out already.
    """
    states, horizons = dataset.taxonomy.states, dataset.taxonomy.horizons
    train = dataset.train if train is None else train
    length = parse_duration(config.period, "monitor.period")
    # To the last row: before the cut lies the purge, which nothing was learned from.
    periods = Periods.before(train.instants.max(), train.instants.min(), length)
    rows = train.take(one_a_user(train, periods))
    number = periods.of(rows.instants)
    columns = feature_columns(features, rows.features, rows.instants)
    columns += Answers.of(model, rows).columns(states)
    watched = [(column, np.ones(len(rows), dtype=bool)) for column in columns]
    watched += label_columns(rows, states, horizons)
    every, counts = [], []
    for column, known in watched:
        bins = Bins.fit(column.take(known), config.bins)
        every.append(bins)
        counts.append(bins.count(column.take(known), number[known], periods.count))
    owners = [np.unique(rows.owners[number >= place]) for place in range(periods.count)]
    valid = dataset.valid
    judged = valid.take(~valid.landmarks)
    return Reference(
        periods=periods,
        users=np.bincount(number, minlength=periods.count),
        users_since=np.array([len(each) for each in owners]),
        lags=_lags(rows, periods, number),
        bins=tuple(every),
        counts=tuple(counts),
        performance=performances(Answers.of(model, judged), judged, states, horizons)
        if len(judged)
        else {},
    )


def _lags(rows: Examples, periods: Periods, number: NDArray[np.int64]) -> NDArray[np.int64]:
    instants = rows.sequences.instants
    assert instants is not None
    first = periods.of(instants[rows.first])
    lag = np.where(first >= 0, number - first, periods.count - 1)
    cells = number * periods.count + lag
    return np.bincount(cells, minlength=periods.count**2).reshape(periods.count, periods.count)


def read_reference(folder: Path) -> Reference:
    """What the fit of a run kept.

    Raises
    ------
    BadInput
        Where it kept nothing.
    """
    path = folder / REFERENCE
    if not path.is_file():
        raise BadInput(
            f"{path}: this run kept no reference to compare with; run trainer fit again, without "
            "privacy.epsilon: a private run keeps none"
        )
    return Reference.from_json(read_json(path))
