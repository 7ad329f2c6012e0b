"""Logs of items, and what a reader would count in them by hand."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import numpy as np
import synthetic_log as synthetic

from trainer.examples import Dataset
from trainer.models.base import Training
from trainer.ranking.log import TargetLog
from trainer.ranking.rows import RankingRows

Event = synthetic.Event
Given = tuple[Dataset, Training]
START = datetime(2024, 1, 1)


def item_log(column: str = "item_id", **users: list[tuple[float, str | None]]) -> TargetLog:
    """A log of (hours after the start, item) by user, in the order given."""
    log = synthetic.Log(("a",))
    for user, events in users.items():
        log.users[user] = [Event(hours(at), "a", item=item) for at, item in events]
    return TargetLog.from_events(synthetic.events_table(log), column)


def hours(after: float) -> datetime:
    return START + timedelta(seconds=round(after * 3600))


def instant(after: float) -> np.datetime64:
    return np.datetime64(hours(after), "us")


def nasty_log(seed: int = 0, users: int = 6, events: int = 60) -> synthetic.Log:
    """Ties within users and between them, events without an item, items that come late."""
    rng = random.Random(seed)
    log = synthetic.Log(("a", "b"))
    for number in range(users):
        at, history = START + timedelta(minutes=rng.randrange(600)), []
        for _ in range(events):
            day = (at - START).days
            item = rng.choice([None, *(f"i{rng.randrange(4 + day)}" for _ in range(5))])
            history.append(Event(at, rng.choice("ab"), rng.choice("xyz"), item=item))
            at += timedelta(minutes=rng.choice([0, 0, 1, 20, 60, 500, 3000]))
        log.users[f"u{number}"] = history
    return log


def habit_log(users: int = 30, events: int = 60, seed: int = 0) -> synthetic.Log:
    """Half the users repeat a favourite with .8, half go round a circle with .8; else chance."""
    rng = random.Random(seed)
    items = [f"i{place:02d}" for place in range(20)]
    log = synthetic.Log(("a", "b"))
    for number in range(users):
        at, favourite, last = START + timedelta(minutes=rng.randrange(600)), rng.choice(items), 0
        history = []
        for _ in range(events):
            if rng.random() > 0.8:
                item = rng.choice(items)
            else:
                item = favourite if number % 2 else items[(last + 1) % len(items)]
            last = items.index(item)
            history.append(Event(at, rng.choice("ab"), "xyz"[last % 3], item=item))
            at += timedelta(hours=rng.choice([0.2, 0.2, 20.0]))
        log.users[f"u{number:02d}"] = history
    return log


def table_of(log: synthetic.Log, column: str = "item_id") -> TargetLog:
    return TargetLog.from_events(synthetic.events_table(log), column)


def rows_at(log: TargetLog, users: list[str], instants: list[np.datetime64]) -> RankingRows:
    """Rows without a target: what is known of users at instants."""
    owners = np.searchsorted(log.users, users)
    ends = []
    for owner, at in zip(owners, instants, strict=True):
        first, stop = log.offsets[owner], log.offsets[owner + 1]
        ends.append(first + int((log.instants[first:stop] <= at).sum()))
    return RankingRows(
        log, owners, np.array(ends), np.array(instants), np.full(len(users), -1, dtype=np.int64)
    )
