"""A stream and the builds around it: the same verdicts, the same rows, nothing lost or twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pytest
import yaml

import warm_python
from dbt_runner import ROOT
from dbt_session import DbtSession
from oracle import account
from strategies import random_log, write_log
from streaming_replay import (
    CLOCK,
    Comparison,
    OnlineRowsInMemory,
    Published,
    compile_in,
    home_beside,
    known_events,
    settle,
    shop_events,
    write_dataset,
)
from trainer.streaming.engine import Engine
from trainer.streaming.events import Arrival, Verdict
from trainer_runner import Trainer
from warm_python import WarmPython

FIRST_POSITION = 10**12
BUILD_CLOCK_US = 1_900_000_000_000_000  # any day between the logs' ends and their future


def text_rows(path: Path) -> list[dict[str, str | None]]:
    """The rows of a log as an event source would send them."""
    found = duckdb.sql(f"select columns(*)::varchar from {reader(path)}")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def write_head(path: Path, rows: int) -> Path:
    """A log of the first rows of another one."""
    head = path.with_name(f"head{path.suffix}")
    form = "format parquet" if path.suffix == ".parquet" else "format csv, header, force_quote *"
    duckdb.sql(f"copy (from {reader(path)} limit {rows}) to '{head}' ({form})")
    return head


def reader(path: Path) -> str:
    if path.suffix == ".parquet":
        return f"read_parquet('{path}')"
    return f"read_csv('{path}', all_varchar = true)"


def in_batches(
    engine: Engine, rows: list[dict[str, str | None]], rng: random.Random
) -> list[Verdict]:
    verdicts: list[Verdict] = []
    while len(verdicts) < len(rows):
        batch = rows[len(verdicts) : len(verdicts) + rng.choice([1, 3, 30])]
        verdicts += engine.take([Arrival(row) for row in batch])
        assert engine.waiting == 0
    return verdicts


def verdicts_of_build(home: Path) -> dict[int, tuple[str, str]]:
    """Event id and verdict of each line of the journal, by its number."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select file_position, event_id, verdict from base_events__judged "
            f"where file_position > {FIRST_POSITION}"
        ).fetchall()
    return {position - FIRST_POSITION: (event_id, verdict) for position, event_id, verdict in rows}


def differences_from_build(
    engine: Engine, online: OnlineRowsInMemory, home: Path, now: datetime
) -> Comparison:
    """Everything online against the rows in force in the published files."""
    comparison = Comparison()
    full = Published(home, [view.name for view in engine.views])
    for view in full.views:
        found = online.rows.get(view, {})
        expected = full.in_force(view, found, now)
        for user, row in found.items():
            comparison.rows(view, user, expected.get(user), row)
    return comparison


@pytest.mark.parametrize(
    ("seed", "form"),
    [
        (3, "csv"),
        *(
            pytest.param(seed, form, marks=pytest.mark.slow)
            for seed, form in ((3, "parquet"), (8, "csv"), (8, "parquet"), (11, "csv"))
        ),
    ],
)
def test_a_dirty_stream_gets_the_verdicts_and_rows_of_the_next_build(
    dbt_session: DbtSession, tmp_path: Path, seed: int, form: Literal["csv", "parquet"]
) -> None:
    """Late, copied and broken rows of every kind; then the build, which reads the journal."""
    rng = random.Random(seed)
    rows, config = random_log(seed, events=150)
    path, variables = write_log(rows, tmp_path, config, form)
    head = write_head(path, 60)
    dataset = write_dataset({**variables, "events_path": str(head)}, tmp_path / "log.yml")
    home = tmp_path / "home"
    streamed = {**variables, "events_path": str(head)}
    assert dbt_session(home, streamed).returncode == 0

    last = max(
        t for row in rows if isinstance(t := row["event_timestamp"], int) and t < BUILD_CLOCK_US
    )
    clock = [datetime.fromtimestamp(last / 1_000_000, UTC) + timedelta(hours=1)]
    online = OnlineRowsInMemory()
    compile_in(dbt_session, dataset, home)
    engine = Engine(dataset, home, online, clock=lambda: clock[0])
    sent = text_rows(path)[60:]
    answered = in_batches(engine, sent, rng)
    settle(engine, clock, clock[0])

    after = dbt_session(home, streamed)
    assert after.returncode == 0, after.output
    # The build of the head and the journal is that of the whole log.
    events, duplicates, rejected = account(rows, config, BUILD_CLOCK_US)
    expected = {reason: n for reason, n in rejected.items() if n}
    assert after.accounting == {
        "raw": len(rows),
        "accepted": len(events),
        "duplicates": duplicates,
        "rejected": expected,
    }
    judged = verdicts_of_build(home)
    assert len(judged) == len(sent)
    # An answer stands, unless a copy came later that says that it had arrived before.
    overtaken = {judged[n][0] for n, v in enumerate(answered, 1) if v.verdict != "duplicate"}
    for number, verdict in enumerate(answered, 1):
        event_id, in_build = judged[number]
        if Verdict.of_staging(in_build) != verdict:
            assert in_build == "duplicate"
            later = [n for n, (i, _) in judged.items() if i == event_id and n > number]
            assert any(answered[n - 1].verdict != "duplicate" for n in later), number
    assert overtaken
    # The stream follows the new build by itself, its patterns included.
    settle(engine, clock, clock[0])
    comparison = differences_from_build(engine, online, home, clock[0])
    engine.close()
    assert comparison.differences == []
    assert comparison.cells > 23 * len({row["user_id"] for row in rows if row["user_id"]})


# Crashes ------------------------------------------------------------------------------------------


def test_a_killed_stream_loses_nothing_and_counts_nothing_twice(
    shop_home: Path, shop_statements: Path, tmp_path: Path, trainer: Trainer
) -> None:
    """`kill -9` at random moments; what was not answered is sent again, as a client does."""
    home = home_beside(shop_home, tmp_path, shop_statements)
    registered = trainer(home, "apply")
    assert registered.returncode == 0, registered.stderr
    events = shop_events(400, users=30)
    answers: dict[str, list[str]] = {str(event["event_id"]): [] for event in events}
    rng = random.Random(4)
    kills = 0
    while any(not given for given in answers.values()):
        left = [event for event in events if not answers[str(event["event_id"])]]
        # Some that were answered come again as well: the client did not hear it.
        left = events[:5] + left
        kill_after = rng.randrange(len(left)) if kills < 3 else None
        process = WarmPython(
            *("-m", "trainer", "stream"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "SCALESPACE_HOME": str(home)},
        )
        assert process.stdin is not None and process.stdout is not None
        sender = threading.Thread(target=send, args=(process, left, kill_after is None))
        sender.start()
        for place, line in enumerate(process.stdout):
            answer = json.loads(line)
            assert answer["line"] == place + 1
            answers[str(left[place]["event_id"])].append(answer["verdict"])
            if kill_after is not None and place >= kill_after:
                time.sleep(rng.random() / 5)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        sender.join()
        process.stdout.close()
        code = process.wait(60)
        assert code == (0 if kill_after is None else -signal.SIGKILL)
    assert kills == 3
    for event_id, given in answers.items():
        # Once accepted; a duplicate from then on. Who was killed before he could say so had it.
        assert given.count("accepted") <= 1, event_id
        assert set(given) <= {"accepted", "duplicate"}, event_id
    counted = known_events(home, "new-1-")
    assert set(counted) == set(answers)
    assert set(counted.values()) == {1}

    # What went online through Feast is what the log and the journal hold.
    users = sorted({str(event["user_id"]) for event in events})
    asked = warm_python.run("-c", ASK_ONLINE, str(home), *users)
    assert asked.returncode == 0, asked.stderr
    before = dict(
        duckdb.sql(
            f"select user_id, count(*) from '{shop_home}/labels/events.parquet' group by 1"
        ).fetchall()
    )
    new = Counter(str(event["user_id"]) for event in events)
    online = json.loads(asked.stdout.splitlines()[-1])
    assert online == {user: before.get(user, 0) + new[user] for user in users}


ASK_ONLINE = """
import json, sys
from pathlib import Path
from feature_repo.store import open_store

users = sys.argv[2:]
answer = open_store(Path(sys.argv[1])).get_online_features(
    ["user_activity_all:event_count_all"], [{"user_id": user} for user in users]
).to_dict()
print(json.dumps(dict(zip(answer["user_id"], answer["event_count_all"]))))
"""


def send(process: WarmPython, events: list[dict[str, Any]], to_the_end: bool) -> None:
    """Write events in small pieces, so that batches of many sizes come of it."""
    assert process.stdin is not None
    try:
        for start in range(0, len(events), 20):
            piece = events[start : start + 20]
            process.stdin.write(b"".join(json.dumps(e).encode() + b"\n" for e in piece))
            process.stdin.flush()
            time.sleep(0.02)
        if to_the_end:
            process.stdin.close()
    except BrokenPipeError:
        pass


def test_rows_that_a_store_did_not_take_are_put_online_later(
    shop_home: Path, shop_statements: Path, tmp_path: Path
) -> None:
    class AwayForAWhile(OnlineRowsInMemory):
        away = True

        def write(self, views: Any, now: datetime) -> int:
            if self.away:
                raise ConnectionError("the store is away")
            return super().write(views, now)

    home = home_beside(shop_home, tmp_path, shop_statements)
    online = AwayForAWhile()
    engine = Engine("data/shop.yml", home, online, clock=lambda: CLOCK)
    events = shop_events(20, users=5)
    verdicts = engine.take([Arrival(event) for event in events])
    assert {v.verdict for v in verdicts} == {"accepted"}
    assert engine.waiting == len({event["user_id"] for event in events})
    assert engine.journal.applied == 0
    engine.close()

    # The process ends, and the next one begins where it was.
    again = Engine("data/shop.yml", home, online, clock=lambda: CLOCK)
    assert again.waiting == engine.waiting
    again.idle()
    assert again.waiting == engine.waiting
    online.away = False
    until = time.monotonic() + 60
    while again.waiting:  # a store that is away is asked again after a moment
        assert time.monotonic() < until
        again.idle()
        time.sleep(0.05)
    assert again.journal.applied == 20
    again.close()
    users = {str(event["user_id"]) for event in events}
    assert set(online.rows["user_recency"]) == users
    last = {str(event["user_id"]): event["action_type"] for event in events}
    assert {u: r["last_action_type"] for u, r in online.rows["user_recency"].items()} == last


def test_time_alone_changes_rows(shop_home: Path, shop_statements: Path, tmp_path: Path) -> None:
    """An hour after a user's last event his count of the last hour is 0, and he has left."""
    home = home_beside(shop_home, tmp_path, shop_statements)
    online, clock = OnlineRowsInMemory(), [CLOCK]
    engine = Engine("data/shop.yml", home, online, clock=lambda: clock[0])
    at = (CLOCK - timedelta(minutes=5)).isoformat()
    ahead = (CLOCK + timedelta(minutes=2)).isoformat()
    engine.take(
        [
            Arrival({"user_id": "fresh", "action_type": "cart", "time_stamp": at}),
            # The user's clock is ahead of ours: nothing is in force yet.
            Arrival({"user_id": "ahead", "action_type": "browse", "time_stamp": ahead}),
        ]
    )
    assert set(online.rows["user_activity_1h"]) == {"fresh"}
    assert online.rows["user_activity_1h"]["fresh"]["event_count_1h"] == 1
    assert online.rows["user_session"]["fresh"]["session_is_open"] is True
    settle(engine, clock, CLOCK + timedelta(minutes=2))
    assert online.rows["user_activity_1h"]["ahead"]["event_count_1h"] == 1
    settle(engine, clock, CLOCK + timedelta(minutes=54, seconds=59))
    assert online.rows["user_activity_1h"]["fresh"]["event_count_1h"] == 1
    assert online.rows["user_session"]["fresh"]["session_is_open"] is False
    assert online.rows["user_session"]["fresh"]["last_closed_session_pattern"] == "abandoned"
    settle(engine, clock, CLOCK + timedelta(minutes=55))
    assert online.rows["user_activity_1h"]["fresh"]["event_count_1h"] == 0
    assert online.rows["user_activity_1d"]["fresh"]["event_count_1d"] == 1
    writes = online.writes
    settle(engine, clock, CLOCK + timedelta(minutes=56))
    assert online.writes == writes
    # A clock that is moved back, and right again later: nothing is lost, and nothing is older.
    clock[0] = CLOCK - timedelta(hours=2)
    at = (clock[0] - timedelta(minutes=1)).isoformat()
    engine.take([Arrival({"user_id": "fresh", "action_type": "search", "time_stamp": at})])
    assert online.rows["user_activity_1h"]["fresh"]["event_count_1h"] == 0
    settle(engine, clock, CLOCK + timedelta(minutes=57))
    assert online.rows["user_activity_1h"]["fresh"]["event_count_1h"] == 0
    assert online.rows["user_activity_all"]["fresh"]["event_count_all"] == 2
    engine.close()


def test_a_user_who_cannot_be_computed_does_not_hold_up_the_others(
    shop_home: Path, shop_statements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sum that passes its type would do it, were there one."""
    home = home_beside(shop_home, tmp_path, shop_statements)
    online = OnlineRowsInMemory()
    engine = Engine("data/shop.yml", home, online, clock=lambda: CLOCK)
    compute = engine._computation.rows_in_force

    def fails_for_one(history: pa.Table, now: datetime) -> Iterator[tuple[str, pa.Table]]:
        if "endless" in history["user_id"].to_pylist():
            raise duckdb.OutOfRangeException("overflow in a sum")
        return compute(history, now)

    monkeypatch.setattr(engine._computation, "rows_in_force", fails_for_one)
    events = shop_events(30, users=10)
    endless = [{**events[0], "user_id": "endless", "event_id": f"endless{n}"} for n in range(2)]
    verdicts = engine.take([Arrival(event) for event in [*events[:15], *endless, *events[15:]]])
    assert {v.verdict for v in verdicts} == {"accepted"}
    assert engine.waiting == 0
    assert set(online.rows["user_activity_all"]) == {str(e["user_id"]) for e in events}
    engine.close()


def test_an_event_on_which_the_dataset_file_fails_is_malformed(
    dbt_session: DbtSession, shop_home: Path, tmp_path: Path
) -> None:
    """It must not get into the journal, where it would stop every build."""
    shop = yaml.safe_load((ROOT / "data" / "shop.yml").read_text(encoding="utf-8"))
    place = {"sql": "case when location = 'nowhere' then error('no place') else location end"}
    dataset = {**shop, "columns": {**shop["columns"], "location": place}}
    home = home_beside(shop_home, tmp_path)
    online, file = OnlineRowsInMemory(), write_dataset(dataset, tmp_path / "shop.yml")
    compile_in(dbt_session, file, home)
    engine = Engine(file, home, online, clock=lambda: CLOCK)
    good = shop_events(3, users=3)
    poison = {**good[0], "event_id": "poison", "location": "nowhere"}
    verdicts = engine.take([Arrival(event) for event in [good[0], poison, *good[1:]]])
    assert [v.verdict for v in verdicts] == ["accepted", "malformed", "accepted", "accepted"]
    assert "no place" in str(verdicts[1].reason)
    assert engine.journal.last == 3
    assert [v.verdict for v in engine.take([Arrival(poison)])] == ["malformed"]
    assert engine.journal.last == 3
    engine.close()
