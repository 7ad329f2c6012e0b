"""The bot rule: users with more events in an hour than declared are quarantined, and reported."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbt_runner import Build
from dbt_session import DbtSession
from oracle import DEFAULT_SCALES, HOUR, OracleConfig, account, bots, micros
from parity import feature_differences, label_differences
from strategies import RawLog, random_log, write_log

Stage = Callable[..., Build]
Query = Callable[[Build, str], list[tuple[Any, ...]]]

LIMIT = 5
CONFIG = OracleConfig(actions=["view", "buy"], events_per_hour=LIMIT)
START = 1_704_103_200_000_000  # 2024-01-01 10:00
CLOCK = 1_767_225_600_000_000  # 2026-01-01: after every event


def crowd(seed: int, users: int = 300) -> RawLog:
    """Users with bursts of about the limit: exact hours, 1 µs beside them, ties, copies."""
    rng = random.Random(seed)
    rows: RawLog = []
    for number in range(users):
        own = []
        for burst in range(rng.choice([1, 1, 2])):
            start = START + burst * 86_400_000_000 + rng.randint(0, HOUR)
            steps = [0, HOUR, HOUR - 1, HOUR + 1, rng.randint(0, 2 * HOUR), rng.randint(0, HOUR)]
            times = [start + rng.choice(steps) for _ in range(LIMIT + rng.choice([-1, 0, 0, 1, 3]))]
            own += [(ts, f"{burst} {place}") for place, ts in enumerate(times)]
        for ts, place in own:
            row = {
                "user_id": f"u{number}",
                "action_type": rng.choice(["view", "buy"] * 5 + ["frobnicate"]),
                "event_timestamp": ts,
                "event_id": f"{number} {place}",
            }
            rows += [row] * rng.choice([1, 1, 1, 2])
    rng.shuffle(rows)
    return rows


def test_whoever_is_above_the_limit_is_quarantined(
    stage: Stage, warehouse: Query, tmp_path: Path
) -> None:
    rows = crowd(1)
    _, variables = write_log(rows, tmp_path, CONFIG)
    build = stage(tmp_path / "home", variables)
    assert build.returncode == 0, build.output

    events, duplicates, rejected = account(rows, CONFIG, CLOCK)
    assert build.accounting == {
        "raw": len(rows),
        "accepted": len(events),
        "duplicates": duplicates,
        "rejected": {reason: count for reason, count in rejected.items() if count},
    }
    assert warehouse(build, "select distinct user_id from stg_events order by 1") == sorted(
        {(event.user_id,) for event in events}
    )

    before_the_rule, _, _ = account(rows, OracleConfig(actions=CONFIG.actions), CLOCK)
    expected = bots(before_the_rule, CONFIG)
    assert 50 < len(expected) < 250  # the bursts lie on both sides of the limit
    quarantined = """
        select user_id, peak_events_per_hour, peak_at, exceeded_at, event_count
        from stg_users__quarantined"""
    found = {
        user: (peak, micros(peak_at), micros(exceeded_at))
        for user, peak, peak_at, exceeded_at, _ in warehouse(build, quarantined)
    }
    assert found == expected
    assert sum(row[-1] for row in warehouse(build, quarantined)) == rejected["bot"]
    said = f"{len(expected)} users with more than {LIMIT} events in an hour are quarantined"
    assert said in build.output
    assert f"all their {rejected['bot']} events" in build.output


def test_without_the_rule_nobody_is(stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    rows = crowd(1)
    config = OracleConfig(actions=CONFIG.actions)
    _, variables = write_log(rows, tmp_path, config)
    assert "bots" not in variables
    build = stage(tmp_path / "home", variables)
    assert build.returncode == 0, build.output
    assert set(build.accounting["rejected"]) == {"unknown_action"}
    assert warehouse(build, "select * from stg_users__quarantined") == []
    assert "events in an hour" not in build.output


def test_quarantined_users_are_in_no_view(
    dbt_session: DbtSession, few_scales: Path, tmp_path: Path
) -> None:
    config = OracleConfig(
        scales={scale: DEFAULT_SCALES[scale] for scale in ("1h", "30d", "all")},
        actions=["browse", "search", "cart", "purchase"],
        action_roles={"purchase": "conversion"},
        horizons={"1d": 86_400_000_000},
        events_per_hour=5,  # two users have 6, one has exactly 5
    )
    rows, _ = random_log(8, config=config)
    _, variables = write_log(rows, tmp_path, config)
    build = dbt_session(tmp_path / "home", variables, project=few_scales)
    assert build.returncode == 0, build.output
    events, _, rejected = account(rows, config, int(time.time() * 1e6))
    assert rejected["bot"] > 0
    assert build.accounting["rejected"]["bot"] == rejected["bot"]
    assert {event.user_id for event in events} != {row["user_id"] for row in rows} - {None}
    assert feature_differences(build, events, config, random.Random(1))[1] == []
    assert label_differences(build, events, config) == []


def test_nobody_was_a_bot_before_he_became_one(
    stage: Stage, warehouse: Query, tmp_path: Path
) -> None:
    rows = [
        {
            "user_id": "u",
            "action_type": "view",
            "event_timestamp": START + n,
            # The last event of the burst is learned of a day later.
            "ingested_at": START + n + (86_400_000_000 if n == LIMIT else 0),
        }
        for n in range(LIMIT + 1)
    ]
    rows.append({**rows[0], "user_id": "v"})
    _, variables = write_log(rows, tmp_path, CONFIG)
    verdicts = (
        "select user_id, verdict, count(*) from base_events__judged group by all order by all"
    )

    build = stage(tmp_path / "home", {**variables, "known_at": "2024-01-01 12:00:00"})
    assert build.returncode == 0, build.output
    assert warehouse(build, verdicts) == [("u", "accepted", LIMIT), ("v", "accepted", 1)]

    build = stage(tmp_path / "home", {**variables, "known_at": "2024-01-03 12:00:00"})
    assert build.returncode == 0, build.output
    assert warehouse(build, verdicts) == [("u", "bot", LIMIT + 1), ("v", "accepted", 1)]


@pytest.mark.parametrize(
    ("bots_key", "said"),
    [
        ({"events_per_hour": 0}, ["bots.events_per_hour is '0'", "whole number from 1"]),
        ({"events_per_hour": 2.5}, ["bots.events_per_hour is '2.5'", "whole number"]),
        ({"events_per_hour": True}, ["bots.events_per_hour is 'True'", "whole number"]),
        ({"events_per_hour": "many"}, ["bots.events_per_hour is 'many'", "whole number"]),
        ({"events_per_hour": None}, ["bots.events_per_hour is 'None'", "whole number"]),
        ({"per_hour": 5}, ["bots.per_hour is unknown", "{events_per_hour: 1000}"]),
        (5, ["'bots' is 5", "keys with values"]),
        ({"events_per_hour": 1}, ["events.csv", "more than 1 events in some hour", "raise"]),
    ],
    ids=str,
)
def test_what_cannot_be_a_rule_is_refused(
    bots_key: Any, said: list[str], stage: Stage, tmp_path: Path
) -> None:
    rows = [{"user_id": "u", "action_type": "view", "event_timestamp": START + n} for n in range(2)]
    _, variables = write_log(rows, tmp_path, CONFIG)
    build = stage(tmp_path / "home", {**variables, "bots": bots_key})
    assert build.returncode != 0
    assert "Traceback" not in build.output
    assert all(part in build.complaint for part in said), build.output
