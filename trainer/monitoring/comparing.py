"""One period beside the reference: every column, every task, every share, and what is an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.config import MonitorConfig
from trainer.monitoring.bins import Column
from trainer.monitoring.distances import by_chance, compare, largest_by_chance
from trainer.monitoring.performance import Performance
from trainer.monitoring.reference import Reference


@dataclass(frozen=True)
class Alarm:
    """A figure that crossed its threshold.

    Attributes
    ----------
    figure
        ``psi``, ``js``, ``log_loss``, ``calibration``, ``unknown`` or ``cold``.
    of
        The column, task or outcome; empty where there is one alone.
    value, threshold
        What it was, and what it may be.
    """

    figure: str
    of: str
    value: float
    threshold: float


@dataclass(frozen=True)
class Moved:
    """How far one column moved.

    Attributes
    ----------
    column, group
        See :class:`trainer.monitoring.bins.Column`.
    rows
        Of the period, one a user.
    psi, js
        Stability index, and divergence in bits.
    by_chance
        Divergence that a period without drift exceeds with the chance that all columns share.
    psi_trend, js_trend
        What the training part's own trend, continued, makes of the two.
    """

    column: str
    group: str
    rows: int
    psi: float
    js: float
    by_chance: float
    psi_trend: float
    js_trend: float

    def alarm(self, config: MonitorConfig) -> Alarm | None:
        """What crossed its threshold: far, and farther than by chance."""
        if self.js <= self.by_chance:
            return None
        if self.psi > config.psi + self.psi_trend:
            return Alarm("psi", self.column, self.psi, config.psi + self.psi_trend)
        if self.js > config.js + self.js_trend:
            return Alarm("js", self.column, self.js, config.js + self.js_trend)
        return None


@dataclass(frozen=True)
class Period:
    """What was found of one period.

    Attributes
    ----------
    begin, end
        As text; the end is in it.
    users, rows
        Who did something, and at how many instants.
    judged
        Whether there were users enough for an alarm.
    moved
        Each column; empty where nobody was there.
    performance
        Each task whose labels have arrived.
    waiting
        Tasks whose labels have not all arrived.
    unknown, cold, newcomers
        Shares: of the log's events outside the taxonomy, of the users that had no event until
        training ended, and of those whose first event it is. ``None`` where nobody knows.
    usual_cold
        The share that training's own coming and going makes of users new in so long a time.
    alarms
        What crossed its threshold.
    """

    begin: str
    end: str
    users: int
    rows: int
    judged: bool
    moved: tuple[Moved, ...] = ()
    performance: dict[str, Performance] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()
    unknown: float | None = None
    cold: float | None = None
    newcomers: float | None = None
    usual_cold: float | None = None
    alarms: tuple[Alarm, ...] = ()

    @property
    def groups(self) -> dict[str, list[Moved]]:
        """The columns by group, the farthest first."""
        found: dict[str, list[Moved]] = {}
        for each in sorted(self.moved, key=lambda moved: -moved.js):
            found.setdefault(each.group, []).append(each)
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        groups = {
            group: {
                "columns": len(columns),
                "psi_max": max(each.psi for each in columns),
                "psi_mean": float(np.mean([each.psi for each in columns])),
                "js_max": max(each.js for each in columns),
                "js_mean": float(np.mean([each.js for each in columns])),
            }
            for group, columns in self.groups.items()
        }
        return {
            **vars(self),
            "moved": [vars(each) for each in self.moved],
            "groups": groups,
            "performance": {task: each.to_json() for task, each in self.performance.items()},
            "waiting": list(self.waiting),
            "alarms": [vars(each) for each in self.alarms],
        }


class Comparison:
    """Compares periods with a reference.

    Parameters
    ----------
    reference
        What was learned from.
    config
        Thresholds.

    Notes
    -----
    Things that grow while a log is young, as lifetime counts do, have moved within the training
    part already. Its first and second half lie half its length apart; where a period lies farther
    from its middle, the divergence that the halves have beyond chance is taken to go on as the
    square of the distance, as it does for small shifts. So what only goes on is no alarm.
    """

    def __init__(self, reference: Reference, config: MonitorConfig) -> None:
        self.reference = reference
        self.config = config
        self._users = int(reference.users_since[0])
        self._names = {bins.name: place for place, bins in enumerate(reference.bins)}

    @cached_property
    def _trends(self) -> list[tuple[float, float]]:
        """Stability index and divergence of the reference's halves beyond chance, by column."""
        half = self.reference.periods.count // 2
        answer = []
        for counts in self.reference.counts:
            earlier, later = counts[:half].sum(axis=0), counts[half:].sum(axis=0)
            if not earlier.sum() or not later.sum():
                answer.append((0.0, 0.0))
                continue
            psi, js = compare(earlier, later)
            bins = int(((earlier + later) > 0).sum())
            rows = [min(int(each.sum()), self._users) for each in (earlier, later)]
            expected = by_chance(bins, *rows)
            share = max(js - expected, 0.0) / js if js else 0.0
            answer.append((psi * share, js * share))
        return answer

    def columns(
        self, columns: Sequence[tuple[Column, NDArray[np.bool_]]], end: np.datetime64
    ) -> tuple[Moved, ...]:
        """How far each column moved.

        Parameters
        ----------
        columns
            Values of one period, one row a user, and which rows have one.
        end
            Of the period.
        """
        periods = self.reference.periods
        middle = periods.start + periods.length * periods.count / 2
        distance = (end - periods.length / 2 - middle) / (periods.length * periods.count / 2)
        chance = self.config.chance / max(len(columns), 1)
        found = []
        for column, known in columns:
            place = self._names.get(column.name)
            if place is None or not known.any():
                continue
            bins, before = self.reference.bins[place], self.reference.counts[place].sum(axis=0)
            if not before.sum():
                continue
            now = bins.count(column.take(known))[0]
            psi, js = compare(now, before)
            psi_trend, js_trend = (each * float(distance) ** 2 for each in self._trends[place])
            rows = min(int(before.sum()), self._users)
            used = int(((now + before) > 0).sum())
            found.append(
                Moved(
                    column=column.name,
                    group=column.group,
                    rows=int(known.sum()),
                    psi=psi,
                    js=js,
                    by_chance=largest_by_chance(used, int(known.sum()), rows, chance, js_trend),
                    psi_trend=psi_trend,
                    js_trend=js_trend,
                )
            )
        return tuple(found)

    def alarms(
        self,
        moved: Sequence[Moved],
        performance: dict[str, Performance],
        unknown: tuple[int, int] | None,
        unknown_before: float | None,
        cold: tuple[int, int],
        usual_cold: float | None = None,
    ) -> tuple[Alarm, ...]:
        """What crossed its threshold.

        Parameters
        ----------
        moved, performance
            Of the period.
        unknown, cold
            Those counted, and of how many.
        unknown_before
            The share of unknown actions until training ended.
        usual_cold
            The share of new users that is usual after so long a time.
        """
        found = [alarm for each in moved if (alarm := each.alarm(self.config)) is not None]
        found += self._of_performance(performance)
        config = self.config
        if unknown is not None:
            limit = config.unknown + (unknown_before or 0.0)
            found += self._of_share("unknown", *unknown, limit)
        return (*found, *self._of_share("cold", *cold, config.cold + (usual_cold or 0.0)))

    def _of_performance(self, performance: dict[str, Performance]) -> list[Alarm]:
        config, found = self.config, []
        checks = sum(1 + len(each.gaps) for each in performance.values())
        for task, now in performance.items():
            before = self.reference.performance.get(task)
            if before is None:
                continue
            far = self._deviations(checks, min(now.users, before.users))
            error = np.hypot(now.log_loss_error, before.log_loss_error)
            limit = before.log_loss + config.log_loss
            if now.log_loss > max(limit, before.log_loss + far * error):
                found.append(Alarm("log_loss", task, now.log_loss, limit))
            for outcome, gap in now.gaps.items():
                moved = abs(gap - before.gaps[outcome])
                error = np.hypot(now.gap_errors[outcome], before.gap_errors[outcome])
                if moved > max(config.calibration, far * error):
                    found.append(Alarm("calibration", outcome, moved, config.calibration))
        return found

    def _of_share(self, figure: str, count: int, of: int, limit: float) -> list[Alarm]:
        if not of:
            return []
        share = count / of
        error = np.sqrt(max(limit * (1 - limit), 0.0) / of)  # none where the limit is over 1
        if share > limit + self._deviations(1, of) * error:
            return [Alarm(figure, "", share, limit)]
        return []

    def _deviations(self, checks: int, users: int) -> float:
        """How many standard errors are no chance; more where few users say how large one is."""
        from scipy.stats import t

        return float(t.ppf(1 - self.config.chance / max(checks, 1) / 2, max(users - 1, 1)))
