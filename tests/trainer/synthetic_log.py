"""Small logs with known laws, and the tables that a build would publish of them.

Everything is computed by the definitions, one user and one instant at a time: slow, and plain to
read. A log is a list of users; a user is a list of events in order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.dataset import Taxonomy
from trainer.features import Feature

START = datetime(2024, 1, 1)
GAP = timedelta(minutes=30)
WEEK = timedelta(days=7)

TYPES = {
    "event_count_7d": "BIGINT",
    "transition_counts_all": "BIGINT[]",
    "next_probabilities_all": "DOUBLE[]",
    "last_action_type": "VARCHAR",
    "last_action_at": "TIMESTAMP",
    "gap_ms_mean_last_3": "DOUBLE",
    "session_is_open": "BOOLEAN",
    "sequence_actions": "VARCHAR[]",
    "sequence_items": "VARCHAR[]",
    "sequence_categories": "VARCHAR[]",
    "sequence_locations": "VARCHAR[]",
    "sequence_gaps_ms": "BIGINT[]",
    "sequence_durations_ms": "BIGINT[]",
    "sequence_hours": "BIGINT[]",
    "sequence_weekdays": "BIGINT[]",
}
VIEWS = {
    "user_activity_7d": ("event_count_7d",),
    "user_transitions_all": ("transition_counts_all", "next_probabilities_all"),
    "user_recency": ("last_action_type", "last_action_at", "gap_ms_mean_last_3"),
    "user_session": ("session_is_open",),
    "user_sequence": tuple(name for name in TYPES if name.startswith("sequence_")),
}
ARROW = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "BIGINT[]": pa.list_(pa.int64()),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
}
INPUTS = tuple(
    Feature(view, name, TYPES[name], view.removesuffix("_7d").removesuffix("_all"))
    for view, names in VIEWS.items()
    for name in names
    if not name.startswith(("sequence_", "transition_counts"))
)


@dataclass(frozen=True)
class Event:
    """One event of one user."""

    at: datetime
    action: str
    category: str | None = None
    duration_ms: int | None = None
    location: str | None = None
    item: str | None = None


@dataclass
class Log:
    """Events by user, and the taxonomy."""

    actions: tuple[str, ...]
    users: dict[str, list[Event]] = field(default_factory=dict)

    @property
    def states(self) -> tuple[str, ...]:
        return (*self.actions, "leave")

    @property
    def end(self) -> datetime:
        return max(event.at for events in self.users.values() for event in events)

    def until(self, instant: datetime) -> Log:
        """The same log with every later event deleted."""
        kept = {u: [e for e in events if e.at <= instant] for u, events in self.users.items()}
        return Log(self.actions, {u: events for u, events in kept.items() if events})

    def without(self, users: Collection[str]) -> Log:
        """The same log with some users deleted."""
        kept = {u: events for u, events in self.users.items() if u not in users}
        return Log(self.actions, kept)


# ---- laws ----------------------------------------------------------------------------------------


def taxonomy_of(
    log: Log, train_end: datetime, valid_end: datetime, horizons: dict[str, timedelta] | None = None
) -> Taxonomy:
    """What a dataset file says of a log."""
    horizons = horizons or {}
    return Taxonomy(
        dataset="toy",
        actions=log.actions,
        session_gap=np.timedelta64(GAP).astype("timedelta64[us]"),
        longest_horizon=np.timedelta64(max(horizons.values(), default=timedelta(0))).astype(
            "timedelta64[us]"
        ),
        train_end=np.datetime64(train_end, "us"),
        valid_end=np.datetime64(valid_end, "us"),
        horizons=tuple(horizons),
    )


def order_two_log(users: int, events: int, seed: int = 0) -> Log:
    """The next of two actions repeats ``a`` after equal ones with .9, and ``b`` after unequal ones.

    Every pair is equally frequent, so the last action alone says nothing: order 1 stays at ln 2.
    """
    rng = random.Random(seed)
    log = Log(("a", "b"))
    for number in range(users):
        at = START + timedelta(minutes=rng.randrange(60 * 24 * 30))
        before, last = rng.choice("ab"), rng.choice("ab")
        history = []
        for _ in range(events):
            history.append(Event(at, last, rng.choice("xyz"), rng.randrange(1000, 9000)))
            likely = "a" if before == last else "b"
            other = "b" if likely == "a" else "a"
            before, last = last, likely if rng.random() < 0.9 else other
            at += timedelta(seconds=rng.randrange(10, 600))
        log.users[f"u{number:03d}"] = history
    return log


def markov_log(matrix: Sequence[Sequence[float]], users: int, events: int, seed: int = 0) -> Log:
    """Sessions that follow a matrix over browse, search, purchase and leave (last column)."""
    rng = random.Random(seed)
    actions = ("browse", "search", "purchase")
    log = Log(actions)
    for number in range(users):
        at = START + timedelta(minutes=rng.randrange(60 * 24 * 20))
        state, history = 0, []
        while len(history) < events:
            history.append(Event(at, actions[state]))
            state = rng.choices(range(4), matrix[state])[0]
            at += timedelta(seconds=rng.randrange(5, 900))
            if state == 3:
                at += timedelta(hours=rng.randrange(2, 60))
                state = rng.randrange(3)
        log.users[f"u{number:03d}"] = history
    return log


# ---- what a build publishes ----------------------------------------------------------------------


def events_table(log: Log) -> pa.Table:
    rows: dict[str, list[Any]] = {name: [] for name in _EVENT_TYPES}
    for user, events in log.users.items():
        for place, event in enumerate(events):
            gap = None if place == 0 else _milliseconds(event.at - events[place - 1].at)
            values = (user, place + 1, event.at, event.action, event.category, event.duration_ms)
            more = (gap, event.at.hour, event.location, event.item)
            for name, value in zip(rows, (*values, *more), strict=True):
                rows[name].append(value)
    return pa.table({name: pa.array(values, _EVENT_TYPES[name]) for name, values in rows.items()})


_EVENT_TYPES = {
    "user_id": pa.string(),
    "event_position": pa.int64(),
    "event_timestamp": pa.timestamp("us"),
    "action_type": pa.string(),
    "category_id": pa.string(),
    "duration_ms": pa.int64(),
    "gap_ms": pa.int64(),
    "hour": pa.int64(),
    "location": pa.string(),
    "item_id": pa.string(),
}


def label_tables(log: Log, landmarks: bool = True) -> tuple[pa.Table, pa.Table]:
    """The spine and ``label_next``, by the words of their definition."""
    end = log.end
    spine, labels = [], []
    for user, events in log.users.items():
        instants = sorted({event.at for event in events})
        for place, at in enumerate(instants):
            following = instants[place + 1] if place + 1 < len(instants) else None
            asked = [(at, False)]
            step = timedelta(hours=2)
            while landmarks and at + step < (following or datetime.max) and at + step <= end:
                asked.append((at + step, True))
                step *= 4
            for instant, landmark in asked:
                position = sum(event.at <= instant for event in events)
                spine.append((user, instant, landmark, position))
                gap = None if following is None else _milliseconds(following - instant)
                state = _next_state(events, at, following, instant, end)
                labels.append((user, instant, *state, gap))
    spine_types = (pa.string(), pa.timestamp("us"), pa.bool_(), pa.int64())
    label_names = (
        *("user_id", "event_timestamp", "next_action", "next_state_at"),
        "next_gap_ms",
    )
    label_types = (*(pa.string(), pa.timestamp("us")) * 2, pa.int64())
    return (
        _table(("user_id", "event_timestamp", "is_landmark", "event_position"), spine_types, spine),
        _table(label_names, label_types, labels),
    )


def _next_state(
    events: list[Event], at: datetime, following: datetime | None, instant: datetime, end: datetime
) -> tuple[str | None, datetime | None]:
    close = at + GAP
    if instant < close <= end and (following is None or following > close):
        return "leave", close
    if following is not None:
        return next(event.action for event in events if event.at == following), following
    return None, None


def values_at(log: Log, user: str, instant: datetime) -> dict[str, Any]:
    """Every feature of one user at one instant; all null without history."""
    events = [event for event in log.users.get(user, []) if event.at <= instant]
    if not events:
        return dict.fromkeys(TYPES)
    states = log.states
    counts = np.zeros((len(states), len(states)), dtype=int)
    path = _state_path(events, instant)
    for (before, was), (after, now) in zip(path, path[1:], strict=False):
        if now > was:
            counts[states.index(before), states.index(after)] += 1
    row = counts[states.index(path[-1][0])]
    gaps = [_milliseconds(b.at - a.at) for a, b in zip(events, events[1:], strict=False)]
    last = events[-50:]
    first = len(events) - len(last)
    return {
        "event_count_7d": sum(event.at > instant - WEEK for event in events),
        "transition_counts_all": counts.reshape(-1).tolist(),
        "next_probabilities_all": ((row + 1 / len(row)) / (row.sum() + 1)).tolist(),
        "last_action_type": events[-1].action,
        "last_action_at": events[-1].at,
        "gap_ms_mean_last_3": float(np.mean(gaps[-3:])) if gaps else None,
        "session_is_open": instant < events[-1].at + GAP,
        "sequence_actions": [event.action for event in last],
        "sequence_items": [event.item or "" for event in last],
        "sequence_categories": [event.category or "" for event in last],
        "sequence_locations": [event.location or "" for event in last],
        "sequence_gaps_ms": [gaps[first + i - 1] if first + i else -1 for i in range(len(last))],
        "sequence_durations_ms": [
            -1 if event.duration_ms is None else event.duration_ms for event in last
        ],
        "sequence_hours": [event.at.hour for event in last],
        "sequence_weekdays": [event.at.weekday() for event in last],
    }


def _state_path(events: list[Event], instant: datetime) -> list[tuple[str, datetime]]:
    path: list[tuple[str, datetime]] = []
    for place, event in enumerate(events):
        path.append((event.action, event.at))
        close = event.at + GAP
        following = events[place + 1].at if place + 1 < len(events) else None
        if close <= instant and (following is None or following > close):
            path.append(("leave", close))
    return path


def features_at(log: Log, users: Sequence[str], instants: Sequence[datetime]) -> pa.Table:
    """What the store answers; # [rows]."""
    rows = [values_at(log, user, instant) for user, instant in zip(users, instants, strict=True)]
    return pa.table(
        {name: pa.array([row[name] for row in rows], ARROW[kind]) for name, kind in TYPES.items()}
    )


def publish(log: Log, home: Path, **variables: Any) -> Path:
    """Write a home as a build leaves it: labels, step functions, and the manifest."""
    for folder in ("labels", "features", "target", "reports"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    spine, label_next = label_tables(log)
    pq.write_table(events_table(log), home / "labels" / "events.parquet")
    pq.write_table(spine, home / "labels" / "spine.parquet")
    pq.write_table(label_next, home / "labels" / "label_next.parquet")
    keys = []
    for user, events in log.users.items():
        steps = {event.at for event in events}
        steps |= {at + WEEK for at in steps} | {at + GAP for at in steps}
        keys += [(user, at) for at in sorted(steps)]
    values = features_at(log, [user for user, _ in keys], [at for _, at in keys])
    nodes: dict[str, Any] = {}
    key_types = {"user_id": "VARCHAR", "event_timestamp": "TIMESTAMP"}
    for view, names in VIEWS.items():
        key_table = _table(tuple(key_types), (pa.string(), pa.timestamp("us")), keys)
        columns = {name: values[name] for name in names}
        table = pa.table({**{name: key_table[name] for name in key_types}, **columns})
        pq.write_table(table, home / "features" / f"{view}.parquet")
        scale = view.rpartition("_")[2] if view.endswith(("_7d", "_all")) else None
        family = view.removesuffix(f"_{scale}") if scale else view
        types = {**key_types, **{name: TYPES[name] for name in names}}
        nodes[f"model.scalespace.{view}"] = {
            "resource_type": "model",
            "name": view,
            "description": "One row per user and instant.",
            "raw_code": "",
            "config": {
                "meta": {"publish": "features", "entity": "user", "family": family}
                | ({"scale": scale} if scale else {})
            },
            "columns": {
                name: {"name": name, "data_type": kind, "description": name}
                for name, kind in types.items()
            },
        }
    dataset_vars = {"dataset": "toy", "actions": list(log.actions), "session_gap_minutes": 30}
    nodes["model.scalespace.stg_events"] = {
        "resource_type": "model",
        "name": "stg_events",
        "raw_code": "",
        "config": {"meta": {"dataset_vars": dataset_vars | variables}},
        "columns": {},
    }
    manifest = {"metadata": {"project_name": "scalespace"}, "nodes": nodes, "macros": {}}
    (home / "target" / "manifest.json").write_text(json.dumps(manifest))
    return home


def _table(names: Sequence[str], types: Sequence[pa.DataType], rows: list[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pa.table({n: pa.array(c, t) for n, t, c in zip(names, types, columns, strict=True)})


def _milliseconds(gap: timedelta) -> int:
    return gap // timedelta(milliseconds=1)


def strangers(last_actions: list[str | None]) -> tuple[np.ndarray, pa.Table]:
    """Users of no, one and three events, with words that no training saw, and their features."""
    actions: list[list[str]] = [[], ["a"], ["a", "unheard of", "b"]]
    history: dict[str, list[Any]] = {
        "sequence_actions": actions,
        **{
            f"sequence_{words}": [["never seen"] * len(row) for row in actions]
            for words in ("items", "categories", "locations")
        },
        "sequence_gaps_ms": [[-1, 60_000, 10**12][: len(row)] for row in actions],
        "sequence_durations_ms": [[-1] * len(row) for row in actions],
        "sequence_hours": [[23] * len(row) for row in actions],
        "sequence_weekdays": [[6] * len(row) for row in actions],
        "last_action_type": last_actions,
    }
    columns = {
        name: pa.array(history.get(name, [None] * 3), ARROW[kind]) for name, kind in TYPES.items()
    }
    return np.array(["new0", "new1", "new3"], dtype=object), pa.table(columns)
