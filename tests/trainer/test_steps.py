"""Paths through the states, from flat events."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import synthetic_log as synthetic

from trainer.examples import state_indices
from trainer.sequences import Sequences
from trainer.steps import make_steps

GAP = np.timedelta64(30, "m")


def test_instants_sessions_and_users_by_hand() -> None:
    minute = timedelta(minutes=1)
    event = synthetic.Event
    at = synthetic.START
    log = synthetic.Log(
        ("a", "b"),
        {
            # Two events at one instant; a gap of exactly half an hour still belongs; then a pause.
            "u1": [event(at, "a"), event(at, "b"), event(at + 30 * minute, "a")],
            "u2": [event(at, "b"), event(at + 31 * minute, "b")],
        },
    )
    flat = Sequences.from_events(synthetic.events_table(log))
    actions = state_indices(flat.actions, log.states)
    steps = make_steps(actions, flat.gaps_ms, flat.offsets, 2, GAP)
    assert steps.firsts.tolist() == [0, 0, 1, 2, 1]
    assert steps.lasts.tolist() == [1, 0, 1, 2, 1]
    assert steps.starts.tolist() == [0, 0, 2, 2, 2]
    assert steps.of_event.tolist() == [0, 0, 1, 2, 4]


def test_users_without_events_have_no_steps() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert make_steps(none, none, np.zeros(3, dtype=np.int64), 2, GAP).firsts.tolist() == []
    one = make_steps(np.array([1]), np.array([-1]), np.array([0, 0, 1, 1]), 2, GAP)
    assert (one.firsts.tolist(), one.starts.tolist()) == ([1], [0])
