"""The catalogue: values by first sight, and which rows ask for which."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import synthetic_log as synthetic
from ranking_logs import Event, Given, hours, instant, item_log, nasty_log, table_of

from trainer.ranking.log import TargetLog


def test_values_are_numbered_by_first_sight_then_name() -> None:
    log = item_log(b=[(2, "pear"), (3, "fig")], a=[(3, "apple"), (5, "pear"), (6, None)])
    assert log.names.tolist() == ["pear", "apple", "fig"]
    assert log.users.tolist() == ["a", "b"]
    assert log.codes.tolist() == [1, 0, -1, 0, 2]
    asked = np.array([instant(1.9), instant(2), instant(2.9), instant(3), instant(99)])
    assert log.known_at(asked).tolist() == [0, 1, 1, 3, 3]


def test_the_order_of_the_rows_changes_nothing() -> None:
    events = synthetic.events_table(nasty_log())
    order = np.random.default_rng(0).permutation(events.num_rows)
    one = TargetLog.from_events(events, "item_id")
    other = TargetLog.from_events(events.take(pa.array(order)), "item_id")
    for name in ("users", "offsets", "instants", "codes", "names", "first_seen"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def test_a_step_goes_from_the_end_of_an_instant_to_the_start_of_the_next() -> None:
    # At hour 1 there are three events: the step into it goes to x, the one out of it leaves from y.
    log = item_log(u=[(0, "w"), (1, "x"), (1, None), (1, "y"), (2, None), (3, "z")], v=[(9, "w")])
    steps = log.steps
    found = [
        (log.names[source], log.names[log.codes[after]])
        for source in range(log.values)
        for after in steps.after[
            steps.sources.start(np.array([source]))[0] : steps.sources.end(
                np.array([source]), np.array([instant(99)])
            )[0]
        ]
    ]
    # Out of hour 2 goes nobody: its event has no item. What counts is the last one that has.
    assert sorted(found) == [("w", "x"), ("y", "z")]


def test_an_empty_log_has_nothing() -> None:
    empty = table_of(synthetic.Log(("a",)))
    assert (len(empty), empty.values) == (0, 0)
    assert empty.known_at(np.array([instant(0)])).tolist() == [0]


def test_a_row_asks_for_the_next_event_of_its_user_and_knows_it_by_the_cut(habits: Given) -> None:
    dataset, _ = habits
    ranking = dataset.rankings["item"]
    rows = ranking.test
    log = rows.log
    assert len(rows) > 200
    assert (log.owners[rows.ends] == rows.owners).all()
    assert (log.instants[rows.ends] > rows.instants).all()
    assert (log.codes[rows.ends] == rows.targets).all()
    assert log.opens[rows.ends].all()  # the first event of the next instant, never a later one
    cuts = dataset.cuts
    train = ranking.train
    assert (log.instants[train.ends] <= cuts.train_end).all()
    assert (train.instants <= cuts.train_end - cuts.train_purge).all()
    assert (rows.instants > cuts.valid_end).all()
    assert not dataset.examples.landmarks[ranking.parts.test].any()


def test_known_is_what_was_seen_at_the_instant_itself() -> None:
    log = synthetic.Log(("a",), {"u": [Event(hours(1), "a", item="x")]})
    assert table_of(log).known_at(np.array([instant(1)])).tolist() == [1]
