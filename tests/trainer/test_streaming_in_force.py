"""A stream's rows at the bounds of windows, and its writes beside the next batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streaming_replay import CLOCK, OnlineRowsInMemory, home_beside, shop_events
from trainer.streaming import engine as engine_module
from trainer.streaming.computation import _is_in_force
from trainer.streaming.engine import Engine
from trainer.streaming.events import Arrival

US = timedelta(microseconds=1)


def event(number: int, at: datetime, action: str, item: str | None = None) -> dict[str, Any]:
    return {
        "user_id": "bounds",
        "action_type": action,
        "time_stamp": at.isoformat(),
        "event_id": f"bounds-{number}",
        "item_id": item,
    }


def start(
    shop_home: Path,
    shop_statements: Path,
    folder: Path,
    online: Any,
    clock: Callable[[], datetime] = lambda: CLOCK,
) -> Engine:
    home = home_beside(shop_home, folder, shop_statements)
    return Engine("data/shop.yml", home, online, clock=clock)


def test_an_event_of_one_window_ago_has_left_it(
    shop_home: Path, shop_statements: Path, tmp_path: Path
) -> None:
    """(t - W, t], of each scale that a bound of its own is set to; by hand."""
    online = OnlineRowsInMemory()
    engine = start(shop_home, shop_statements, tmp_path, online)
    hour, day, week = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
    events = [
        event(1, CLOCK - week, "browse", "a"),
        event(2, CLOCK - day, "search", "b"),
        event(3, CLOCK - day + US, "cart", "a"),
        event(4, CLOCK - hour, "purchase", "c"),
        event(5, CLOCK - hour + US, "browse", "c"),
        event(6, CLOCK + US, "cart", "z"),  # the clock of its sender is ahead of ours
    ]
    # The newest first: the others are late.
    for late in reversed(events):
        engine.take([Arrival(late)])
    now = CLOCK.replace(tzinfo=None)
    # The third leaves the day then, the fifth the hour, and the sixth comes; none before.
    assert engine._computation.next_steps() == {"bounds": now + US}
    engine.close()

    def row(view: str) -> dict[str, Any]:
        return online.rows[view]["bounds"]

    assert [row(f"user_activity_{s}")[f"event_count_{s}"] for s in ("1h", "1d", "7d", "all")] == [
        1,
        3,
        4,
        5,
    ]
    assert [
        row(f"user_activity_{s}")[f"distinct_items_{s}"] for s in ("1h", "1d", "7d", "all")
    ] == [
        1,  # c
        2,  # a, c
        3,  # a, b, c
        3,
    ]
    # What left a window at this very instant is what the row is of; else the last event is.
    assert row("user_activity_1h")["event_timestamp"] == now
    assert row("user_activity_7d")["event_timestamp"] == now
    assert row("user_activity_30d")["event_timestamp"] == now - hour + US
    # All sessions but that of the last two are over; theirs closed half an hour ago.
    closed = now - hour + US + timedelta(minutes=30)
    assert row("user_session")["event_timestamp"] == closed
    assert row("user_session")["session_is_open"] is False
    assert row("user_transitions_all")["event_timestamp"] == closed
    # browse, leave, search, cart, leave, purchase, browse, leave.
    assert row("user_transitions_all")["transition_total_all"] == 7
    # In the last hour: purchase to browse, browse to leave.
    assert row("user_transitions_1h")["transition_total_1h"] == 2
    # In the last day: search to cart, cart to leave, leave to purchase, and those two.
    assert row("user_transitions_1d")["transition_total_1d"] == 5
    gaps = row("user_recency")
    assert gaps["gap_ms_mean_last_1"] == 0
    assert gaps["gap_ms_mean_last_3"] == (23 * 3_600_000 - 1 + 0 + 0) / 3
    assert gaps["last_item_id"] == "c"
    assert gaps["item_repeat_count_last_7"] == 2
    assert row("user_sequence")["sequence_items"] == ["a", "b", "a", "c", "c"]


class SlowStore(OnlineRowsInMemory):
    """Writes when it may, and refuses as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.refusals = 0

    def write(self, views: Any, now: datetime) -> int:
        assert self.gate.wait(60)
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("the store is away")
        return super().write(views, now)


def counts(online: OnlineRowsInMemory, users: Iterable[str]) -> list[int]:
    rows = online.rows["user_activity_1h"]
    return [rows[user]["event_count_1h"] for user in users]


@pytest.mark.parametrize("refusals", [0, 1])
def test_the_next_batch_is_computed_while_the_store_writes(
    shop_home: Path, shop_statements: Path, tmp_path: Path, refusals: int
) -> None:
    online = SlowStore()
    online.refusals = refusals
    engine = start(shop_home, shop_statements, tmp_path, online)
    events = [{**e, "user_id": f"new{n % 4}"} for n, e in enumerate(shop_events(12, users=4))]
    _, first = engine.begin([Arrival(e) for e in events[:4]])
    assert not first.done()
    assert (engine.waiting, engine.journal.applied) == (4, 0)
    with ThreadPoolExecutor(1) as pool:
        # Three of the four users again: nothing of theirs may be written before the first batch.
        going_on = pool.submit(engine.begin, [Arrival(e) for e in events[4:7]])
        while engine.journal.last < 7:
            assert not going_on.done()
        assert online.writes == 0
        online.gate.set()
        verdicts, second = going_on.result(60)
    assert {v.verdict for v in verdicts} == {"accepted"}
    second.result(60)
    while engine.idle():
        pass
    assert (engine.waiting, engine.journal.applied) == (0, 7)
    assert counts(online, ["new0", "new1", "new2", "new3"]) == [2, 2, 2, 1]
    engine.close()


def test_time_goes_on_for_others_while_events_come(
    shop_home: Path, shop_statements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under full load there is no pause, and a pause in between would hold up events."""
    monkeypatch.setattr(engine_module, "DUE_WITH_A_BATCH", 2)
    online, now = OnlineRowsInMemory(), [CLOCK]
    engine = start(shop_home, shop_statements, tmp_path, online, clock=lambda: now[0])
    first, second, third, *_ = shop_events(12, users=4)
    users = ["new0", "new1", "new2"]
    engine.take([Arrival({**first, "event_id": user, "user_id": user}) for user in users])
    assert counts(online, users) == [1, 1, 1]
    now[0] += timedelta(days=400)
    late = (now[0] - timedelta(days=2)).isoformat()
    assert engine.idle(in_between=True) is False
    assert (counts(online, users), engine.overdue) == ([1, 1, 1], 3)
    engine.take([Arrival({**second, "user_id": "other", "time_stamp": late})])
    assert (sorted(counts(online, users)), engine.overdue) == ([0, 0, 1], 1)
    engine.take([Arrival({**third, "user_id": "other", "time_stamp": late})])
    assert (counts(online, users), engine.overdue) == ([0, 0, 0], 0)
    engine.close()


def test_a_view_with_more_than_the_row_in_force_is_noticed() -> None:
    rows = pa.table({"user_id": ["a", "b"], "event_timestamp": [datetime(2024, 1, 1)] * 2})
    assert _is_in_force(rows, datetime(2024, 1, 1))
    assert _is_in_force(rows.slice(0, 0), datetime(2024, 1, 1))
    assert not _is_in_force(rows, datetime(2023, 12, 31))
    assert not _is_in_force(pa.concat_tables([rows, rows]), datetime(2024, 1, 1))
