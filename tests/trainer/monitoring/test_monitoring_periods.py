"""A log that stands still raises no alarm; one that breaks does, in the period after the break."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest
import synthetic_log as synthetic
from steady_log import BREAK, TRAIN_END, VALID_END, WEEK, WEEKS, steady_log

from trainer.config import MonitorConfig, load_config
from trainer.examples import Dataset
from trainer.models.markov import Markov
from trainer.monitoring.comparing import Comparison, Period
from trainer.monitoring.monitor import Watched, compare_periods
from trainer.monitoring.reference import Reference, make_reference
from trainer.monitoring.rows import Periods
from trainer.splits import last_event

CONFIG = MonitorConfig()
SEEDS = range(10)


def instant(value: datetime) -> np.datetime64:
    return np.datetime64(value, "us")


@pytest.fixture(scope="session")
def watch(make_dataset: Callable[..., Dataset], training_of: Callable) -> Callable:
    """Fit a Markov chain on a log, and compare the weeks after the validation part."""

    def compared(log: synthetic.Log) -> tuple[tuple[Period, ...], Reference]:
        dataset = make_dataset(log, TRAIN_END, VALID_END)
        model = Markov()
        model.fit(training_of(log, dataset, load_config(None)))
        reference = make_reference(dataset, model, synthetic.INPUTS, CONFIG)
        watched = Watched(model, synthetic.INPUTS, dataset.taxonomy, dataset.cuts.train_end)
        periods = Periods.between(
            instant(VALID_END), instant(synthetic.START + WEEKS * WEEK), instant_length()
        )
        events = dataset.examples.sequences.instants
        assert events is not None
        found = compare_periods(
            watched,
            dataset.test,
            periods,
            Comparison(Reference.from_json(reference.to_json()), CONFIG),
            last_event(np.sort(events)),
        )
        return found, reference

    return compared


def instant_length() -> np.timedelta64:
    return np.timedelta64(WEEK).astype("timedelta64[us]")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_log_that_stands_still_raises_no_alarm(watch: Callable, seed: int) -> None:
    periods, reference = watch(steady_log(seed))
    assert len(periods) == 3
    assert all(period.judged and period.moved for period in periods)
    assert [alarm for period in periods for alarm in period.alarms] == []


@pytest.mark.parametrize("seed", [0, 1])
def test_a_break_is_found_in_the_period_after_it(watch: Callable, seed: int) -> None:
    periods, _ = watch(steady_log(seed, broken=True))
    assert [bool(period.alarms) for period in periods] == [False, True, True]
    assert instant(BREAK) == np.datetime64(periods[1].begin.removesuffix(" UTC"), "us")
    crossed = {alarm.figure for alarm in periods[1].alarms}
    assert {"psi", "log_loss", "calibration"} <= crossed
    # More purchases follow than the chain says, and its own words move with the states.
    names = {alarm.of for alarm in periods[1].alarms}
    assert {"next_action", "purchase"} <= names
