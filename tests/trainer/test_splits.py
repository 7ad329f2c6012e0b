"""The split by hand: cuts, purge, censored labels, and rows to stop by."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.errors import BadInput
from trainer.splits import (
    choose_cuts,
    label_known,
    quantile_cut,
    read_cuts,
    split_rows,
    stopping_rows,
)

DAY = np.timedelta64(1, "D").astype("timedelta64[us]")
HOUR = np.timedelta64(3_600_000_000, "us")


def days(*numbers: float) -> np.ndarray:
    start = np.datetime64("2024-01-01", "us")
    return np.array([start + np.timedelta64(int(n * 86_400_000_000), "us") for n in numbers])


EVENTS = days(*range(1, 21))
INSTANTS, NEXT = EVENTS[:-1], EVENTS[1:]


def test_parts_by_hand() -> None:
    cuts = choose_cuts(INSTANTS, NEXT, EVENTS, 2 * DAY, HOUR, days(10)[0], days(15)[0])
    parts = split_rows(INSTANTS, NEXT, EVENTS, cuts)
    assert (INSTANTS[parts.train] == days(*range(1, 9))).all()  # 10 - 2
    assert (INSTANTS[parts.valid] == days(11, 12, 13)).all()  # after 10, until 15 - 2
    assert (INSTANTS[parts.test] == days(16, 17, 18, 19)).all()
    assert read_cuts(cuts.to_json()) == cuts


def test_a_label_counts_only_once_it_was_known() -> None:
    # An event of day 9.5 whose next state comes on day 10.5, after the cut, is left out; so is a
    # `leave` between the last event before the cut and the cut: the shortened log ends earlier.
    instants, following = days(9.5, 9.6, 9.7), days(10.5, 9.9, 10.0)
    assert label_known(following, EVENTS, days(10)[0]).tolist() == [False, True, True]
    assert label_known(following, days(*range(1, 10)), days(10)[0]).tolist() == [False] * 3
    assert not label_known(np.array(["NaT"], "datetime64[us]"), EVENTS, days(10)[0])[0]
    cuts = choose_cuts(instants, following, EVENTS, HOUR, HOUR, days(10)[0], days(15)[0])
    assert split_rows(instants, following, EVENTS, cuts).train.tolist() == [False, True, True]


def test_a_short_validation_part_falls_back_to_the_session_gap_and_says_so() -> None:
    cuts = choose_cuts(INSTANTS, NEXT, EVENTS, 7 * DAY, HOUR, days(12)[0], days(15)[0])
    assert (cuts.train_purge, cuts.valid_purge) == (7 * DAY, HOUR)
    assert len(cuts.notes) == 1
    assert "valid part" in cuts.notes[0]


def test_cuts_default_to_quantiles_of_the_events() -> None:
    cuts = choose_cuts(INSTANTS, NEXT, EVENTS, HOUR, HOUR)
    assert cuts.train_end == days(14)[0]
    assert cuts.valid_end == days(17)[0]
    assert quantile_cut(EVENTS, 1.0) == EVENTS[-1]


def test_cuts_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(BadInput, match="valid_end"):
        choose_cuts(INSTANTS, NEXT, EVENTS, HOUR, HOUR, days(10)[0], days(5)[0])


def test_deleting_later_events_changes_no_training_row() -> None:
    cuts = choose_cuts(INSTANTS, NEXT, EVENTS, 2 * DAY, HOUR, days(10)[0], days(15)[0])
    whole = INSTANTS[split_rows(INSTANTS, NEXT, EVENTS, cuts).train]
    end = days(10)[0]
    kept = end >= EVENTS
    following = np.where(end >= NEXT, NEXT, np.datetime64("NaT", "us"))
    shorter = split_rows(INSTANTS[kept[:-1]], following[kept[:-1]], EVENTS[kept], cuts)
    assert (INSTANTS[kept[:-1]][shorter.train] == whole).all()


def test_rows_to_stop_by_are_the_last_and_purged() -> None:
    users = np.array(["u"] * len(INSTANTS))
    fit, stop = stopping_rows(INSTANTS, NEXT, EVENTS, users, "time", 0.25)
    cut = quantile_cut(INSTANTS, 0.75)
    assert (INSTANTS[stop] > cut).all()
    assert (NEXT[fit] <= cut).all()
    assert not (fit & stop).any()
    # The row at the cut itself has a label beyond it: it belongs to neither.
    assert (~fit & ~stop).sum() == 1


def test_stopping_by_users_keeps_each_user_whole_whoever_else_there_is() -> None:
    users = np.repeat([f"u{n}" for n in range(200)], 3)
    instants, following = np.resize(INSTANTS, 600), np.resize(NEXT, 600)
    fit, stop = stopping_rows(instants, following, EVENTS, users, "user", 0.2)
    assert (fit ^ stop).all()
    assert 0.1 < stop.mean() < 0.3
    assert len(set(users[fit]) & set(users[stop])) == 0
    some = np.arange(600) < 300
    _, stop_some = stopping_rows(instants[some], following[some], EVENTS, users[some], "user", 0.2)
    assert (stop_some == stop[some]).all()
