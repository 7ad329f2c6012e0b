"""What is an alarm: far, farther than by chance, and farther than what only goes on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.config import MonitorConfig
from trainer.monitoring.bins import Bins, Column
from trainer.monitoring.comparing import Alarm, Comparison
from trainer.monitoring.performance import Performance
from trainer.monitoring.reference import Reference
from trainer.monitoring.rows import Periods

WEEK = np.timedelta64(7 * 24 * 3600 * 1_000_000, "us")
START = np.datetime64("2024-01-01", "us")
TOLD = Performance(900, 300, 0.5, 0.01, 0.02, {"buy": 0.0}, {"buy": 0.005})


def reference(counts: list[list[int]], lags: list[list[int]] | None = None) -> Reference:
    """Periods with counts of null, at most 1, and beyond."""
    table = np.array(counts)
    return Reference(
        periods=Periods(START, WEEK, len(counts)),
        users=table.sum(axis=1),
        users_since=np.full(len(counts), table.sum()),
        lags=np.array(lags if lags is not None else np.zeros((len(counts), len(counts)))),
        bins=(Bins("n", "7d", edges=(1.0,)),),
        counts=(table,),
        performance={"next_action": TOLD},
    )


def moved(known: Reference, ones: int, twos: int, weeks: int = 1, **config: float):  # noqa: ANN201
    column = Column("n", "7d", np.repeat([1.0, 2.0], [ones, twos]))
    comparison = Comparison(known, MonitorConfig(**config))
    end = known.periods.ends[-1] + weeks * WEEK
    (found,) = comparison.columns([(column, np.ones(ones + twos, dtype=bool))], end)
    return found, found.alarm(comparison.config)


def test_a_far_column_of_many_users_is_an_alarm_and_of_few_it_is_chance() -> None:
    known = reference([[0, 500, 500], [0, 500, 500]])
    found, alarm = moved(known, 300, 100)
    # .75 and .25 beside halves, each side with one row more as the two together are
    p = np.array([300 + 1300 / 2400, 100 + 1100 / 2400]) / 401
    q = np.array([1000 + 1300 / 2400, 1000 + 1100 / 2400]) / 2001
    assert found.psi == pytest.approx(float(((p - q) * np.log(p / q)).sum()), abs=1e-12)
    assert alarm == Alarm("psi", "n", found.psi, 0.2)
    far, none = moved(known, 6, 2)
    assert far.psi > 0.2 and none is None
    near, none = moved(known, 2200, 1800)
    assert near.js > near.by_chance and near.psi < 0.2 and none is None


def test_the_divergence_alone_may_cross() -> None:
    known = reference([[0, 500, 500], [0, 500, 500]])
    found, alarm = moved(known, 300, 100, psi=9.0, js=0.04)
    assert alarm == Alarm("js", "n", found.js, 0.04)


def test_what_only_goes_on_is_no_alarm() -> None:
    # Shares of the upper bin .3, .4, .5, .6: the next ones are .7 and .8, and .95 is a break.
    known = reference([[0, 700, 300], [0, 600, 400], [0, 500, 500], [0, 400, 600]])
    found, alarm = moved(known, 300, 700)
    assert found.psi > 0.2 and alarm is None
    # Halves .35 and .55 lie two weeks apart, the period two and a half from the middle.
    p, q = np.array([0.65, 0.35]), np.array([0.45, 0.55])
    halves = float(((p - q) * np.log(p / q)).sum())
    assert found.psi_trend == pytest.approx(halves * (2.5 / 2) ** 2, rel=0.02)
    assert moved(known, 50, 950)[1] is not None
    assert moved(known, 200, 800, weeks=2)[1] is None


def told(loss: float, gap: float = 0.0, users: int = 300, error: float = 0.01) -> Performance:
    return Performance(900, users, loss, error, 0.02, {"buy": gap}, {"buy": error / 2})


def alarms(performance: Performance | None = None, **shares: object) -> list[str]:
    known = reference([[0, 5, 5]] * 3, shares.pop("lags", None))  # type: ignore[arg-type]
    comparison = Comparison(known, MonitorConfig())
    found = comparison.alarms(
        (),
        {} if performance is None else {"next_action": performance},
        shares.get("unknown"),  # type: ignore[arg-type]
        shares.get("before"),  # type: ignore[arg-type]
        shares.get("cold", (0, 100)),  # type: ignore[arg-type]
        shares.get("usual"),  # type: ignore[arg-type]
    )
    return [alarm.figure for alarm in found]


def test_log_loss_and_calibration_beside_the_validation_part() -> None:
    assert alarms(told(0.59)) == []
    assert alarms(told(0.65)) == ["log_loss"]
    assert alarms(told(0.65, error=0.05)) == []  # three standard errors of five figures
    assert alarms(told(0.5, gap=0.1)) == ["calibration"]
    assert alarms(told(0.5, gap=-0.1)) == ["calibration"]
    assert alarms(told(0.5, gap=0.04)) == []
    assert alarms(told(0.3)) == []  # better is no alarm
    assert alarms(told(0.65, users=2, error=0.03)) == []  # of two users nobody knows the error


def test_shares_beside_what_is_usual() -> None:
    assert alarms(unknown=(30, 1000)) == []
    assert alarms(unknown=(60, 1000)) == ["unknown"]
    assert alarms(unknown=(60, 1000), before=0.05) == []
    assert alarms(cold=(60, 100)) == ["cold"]
    assert alarms(cold=(60, 100), usual=0.5) == []
    assert alarms(cold=(3, 5)) == []


def test_how_many_are_usually_new_after_so_long_a_time() -> None:
    # Users of the second period: 2 of this one, 8 older; of the third: 3, 1 and 6.
    known = reference([[0, 5, 5]] * 3, [[10, 0, 0], [2, 8, 0], [3, 1, 6]])
    # The first period had nothing of the log before it, and cannot tell.
    assert known.new_within(WEEK) == pytest.approx(5 / 20)
    assert known.new_within(2 * WEEK) == pytest.approx(4 / 10)
    assert known.new_within(9 * WEEK) == pytest.approx(4 / 10)
    assert math.isclose(reference([[0, 5, 5]], [[4]]).new_within(WEEK), 1.0)


def test_the_last_periods_alone() -> None:
    known = reference([[0, 9, 1], [0, 9, 1], [0, 1, 9]])
    last = known.since(WEEK)
    assert last.counts[0].tolist() == [[0, 1, 9]]
    assert (last.periods.start, last.periods.count) == (START + 2 * WEEK, 1)
    assert known.since(None).periods == known.since(99 * WEEK).periods == known.periods
