"""A second build costs what changed, and makes what a full one makes, whatever came or was killed.

Cases of others that are answered here: E2 (a day appended twice), E3 (a shrunken input), E7 (runs
skipped, then late events), E8 (`--empty`, then a build), E9 (a session across an increment's edge),
E12 (a late event changes exactly the rows within its windows).

E23 (the cost of an increment does not depend on W) cannot hold for values that are stored at every
instant: an event at t gives other values to the rows in (t, t + W], which the store has already.
What holds instead, and is tested with E12, is that no other row is written anew.
"""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bare_project import bare_project
from dbt_session import DbtSession
from oracle import OracleConfig
from same_tables import table_differences
from strategies import RawLog, random_log, write_log

WIDE = OracleConfig(
    actions=[f"kind_{number}" for number in range(12)],
    action_roles={"kind_3": "search", "kind_7": "conversion"},
    horizons={"1d": 86_400_000_000},
)
PLAIN = {"user_id": "who", "action_type": "what", "event_timestamp": "at"}


def instant(row: dict[str, Any]) -> int:
    return row["event_timestamp"] if isinstance(row["event_timestamp"], int) else 0


def growth(rows: RawLog, rng: random.Random) -> list[RawLog]:
    """The log as it was at six readings: grown by late and new events, whole, shrunken, whole."""
    cut = sorted(map(instant, rows))[int(len(rows) * 0.8)]
    early = [instant(row) <= cut and rng.random() < 0.85 for row in rows]
    late = [
        had or instant(row) <= cut and rng.random() < 0.5
        for had, row in zip(early, rows, strict=True)
    ]
    grown = [had or rng.random() < 0.6 for had in late]
    shrunken = [rng.random() < 0.85 for _ in rows]
    whole = [True] * len(rows)
    return [
        [row for row, there in zip(rows, mask, strict=True) if there]
        for mask in (early, late, grown, whole, shrunken, whole)
    ]


@pytest.fixture(scope="module")
def four_scales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the scales 1h, 7d, 30d and all: the others are the same macros once more."""
    return bare_project(tmp_path_factory.mktemp("four_scales"), without=("1d", "90d", "365d"))


@pytest.mark.parametrize(
    ("seed", "config", "scales"),
    [
        (8, None, "few_scales"),
        pytest.param(8, None, "four_scales", marks=pytest.mark.slow),
        pytest.param(4, WIDE, "four_scales", marks=pytest.mark.slow),
    ],
    ids=["8", "8 at four scales", "wide"],
)
def test_any_sequence_of_builds_equals_a_full_refresh(
    seed: int,
    config: OracleConfig | None,
    scales: str,
    dbt_session: DbtSession,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    rows, config = random_log(seed, events=160, config=config)
    home, project = tmp_path / "home", request.getfixturevalue(scales)

    def build(home: Path, variables: dict[str, Any]) -> Path:
        done = dbt_session(home, variables, project=project)
        assert done.returncode == 0, done.output
        return home

    readings = growth(rows, random.Random(seed))
    for number, log in enumerate((readings[0], *readings[2:])):
        _, variables = write_log(log, tmp_path / "log", config)
        build(home, variables)
        if number in (1, 3):
            full = build(tmp_path / f"full {number}", variables)
            assert table_differences(home, full) == [], f"reading {number}"
    # What was known in the past, after all of it came; and back.
    as_of = {**variables, "known_at": str(datetime.fromtimestamp(instant(rows[0]) / 1e6, UTC))}
    for past_or_now in (as_of, variables):
        build(home, past_or_now)
        full = build(tmp_path / f"full {len(past_or_now)}", past_or_now)
        assert table_differences(home, full) == []


@pytest.mark.slow
def test_parts_of_the_project_may_be_built_alone(
    four_scales: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    rows, config = random_log(12, events=160)
    readings = growth(rows, random.Random(1))
    home = tmp_path / "home"

    def build(reading: RawLog, *arguments: str) -> None:
        _, variables = write_log(reading, tmp_path / "log", config)
        done = dbt_session(home, variables, *arguments, project=four_scales)
        assert done.returncode == 0, done.output

    build(readings[0])
    for reading, selected in [
        (readings[1], ("--select", "+user_activity_7d")),
        (readings[2], ("--select", "stg_events")),
        (readings[2], ("--select", "int_events")),
        (readings[3], ("--select", "+event_changes")),
        (readings[4], ("--select", "int_events", "int_states", "user_activity_7d", "user_session")),
        (readings[4], ("--select", "+int_item_hours")),
        (readings[4], ("--empty", "--select", "int_user_totals+")),
        (readings[4], ("--full-refresh", "--select", "user_rhythm_30d")),
        (readings[5], ("--select", "user_transitions_7d+", "item_activity_7d")),
    ]:
        build(reading, *selected)
    build(readings[4])
    _, variables = write_log(readings[4], tmp_path / "log", config)
    full = dbt_session(tmp_path / "full", variables, project=four_scales)
    assert table_differences(home, full.home) == []


def write_events(path: Path, events: list[tuple[str, str, str, str]]) -> dict[str, Any]:
    """Write ``(id, user, action, instant)`` rows; the content of their dataset file."""
    lines = ["key,who,what,at", *(",".join(event) for event in events)]
    path.write_text("\n".join(lines) + "\n")
    return {
        "dataset": "increments",
        "events_path": str(path),
        "columns": {**PLAIN, "event_id": "key"},
        "actions": ["view", "buy"],
        "action_roles": {"buy": "conversion"},
        "horizons": {"conversion": ["1d"]},
    }


def rows_of(home: Path, view: str) -> dict[tuple[str, datetime], tuple[Any, datetime]]:
    """``{(user, instant): (values, computed_at)}``"""
    found = duckdb.sql(f"from '{home}/features/{view}.parquet'")
    return {row[:2]: (row[2:-1], row[-1]) for row in map(tuple, found.fetchall())}


def test_a_late_event_changes_exactly_the_rows_within_its_windows(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    start = datetime(2023, 1, 1, 12)
    events = [
        (f"{user}{day}", user, "view", str(start + timedelta(days=day)))
        for user in ("a", "b")
        for day in range(300)
    ]
    home, log = tmp_path / "home", tmp_path / "log.csv"
    select = (
        "--select",
        "+user_activity_7d",
        "+user_activity_30d",
        "+user_recency",
        "+user_session",
    )
    build = dbt_session(home, write_events(log, events), *select)
    assert build.returncode == 0, build.output
    views = ("user_activity_7d", "user_activity_30d", "user_recency", "user_session")
    before = {view: rows_of(home, view) for view in views}

    # 150 days late, six hours after one event and eighteen before the next.
    late = start + timedelta(days=149, hours=6)
    build = dbt_session(
        home, write_events(log, [*events, ("late", "a", "buy", str(late))]), *select
    )
    assert build.returncode == 0, build.output
    for view in views:
        now = rows_of(home, view)
        written = {key for key, row in now.items() if row[1] != before[view].get(key, (0, None))[1]}
        changed = {key for key, row in now.items() if row[0] != before[view].get(key, (0, 0))[0]}
        assert written == changed, view
        assert {user for user, _ in written} == {"a"}
        assert min(at for _, at in written) == late
        if view.startswith("user_activity"):
            # From its instant to its expiry; the next event's shorter gap expires where one comes.
            window = timedelta(days=int(view.removeprefix("user_activity_").removesuffix("d")))
            there = {at for user, at in now if user == "a" and late <= at <= late + window}
            assert {at for _, at in written} == there
            assert len(there) == window.days + 2
        if view == "user_recency":
            # Itself, and the seven that have its gap or its successor's among their last seven.
            assert len(written) == 8


def test_a_day_that_is_appended_twice_changes_nothing(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    day = [(f"e{n}", "u", "view", f"2024-01-01 10:{n:02}:00") for n in range(20)]
    home, log = tmp_path / "home", tmp_path / "log.csv"
    select = ("--select", "+user_activity_1h", "+user_sequence", "event_accounting")
    dbt_session(home, write_events(log, day), *select)
    first = {path.name: path.read_bytes() for path in (home / "features").iterdir()}
    build = dbt_session(home, write_events(log, [*day, *day]), *select)
    assert build.returncode == 0, build.output
    assert build.accounting == {"raw": 40, "accepted": 20, "duplicates": 20, "rejected": {}}
    assert {path.name: path.read_bytes() for path in (home / "features").iterdir()} == first


def test_a_session_goes_on_across_the_edge_of_an_increment(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    home, log = tmp_path / "home", tmp_path / "log.csv"
    events = [("1", "u", "view", "2024-01-01 10:00:00"), ("2", "u", "view", "2024-01-01 10:20:00")]
    select = ("--select", "+user_session")
    dbt_session(home, write_events(log, events[:1]), *select)
    closed = duckdb.sql(
        f"select event_timestamp, session_is_open from '{home}/features/user_session.parquet'"
    )
    assert [(str(at), is_open) for at, is_open in closed.fetchall()] == [
        ("2024-01-01 10:00:00", True),
        ("2024-01-01 10:30:00", False),
    ]
    dbt_session(home, write_events(log, events), *select)
    steps = duckdb.sql(
        "select event_timestamp, session_ordinal, session_started_at, session_event_count, "
        "session_is_open "
        f"from '{home}/features/user_session.parquet' order by 1"
    ).fetchall()
    assert [(str(at), n, str(began), count, is_open) for at, n, began, count, is_open in steps] == [
        ("2024-01-01 10:00:00", 1, "2024-01-01 10:00:00", 1, True),
        ("2024-01-01 10:20:00", 1, "2024-01-01 10:00:00", 2, True),
        ("2024-01-01 10:50:00", 1, "2024-01-01 10:00:00", 2, False),
    ]


def test_who_did_nothing_sees_the_end_of_the_log_move(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    """What follows an event is known only when the log goes on, whoever makes it go on."""
    noon, log = datetime(2024, 1, 1, 12), tmp_path / "log.csv"
    variables = {
        "dataset": "end",
        "events_path": str(log),
        "columns": PLAIN,
        "actions": ["view", "buy"],
        "action_roles": {"buy": "conversion"},
        "horizons": {"conversion": ["1d"]},
    }
    select = ("--select", "+label_next", "+label_conversion")
    lines = ["who,what,at", f"idle,view,{noon}", f"busy,view,{noon + timedelta(minutes=10)}"]
    labels = """
        select epoch(event_timestamp - timestamp '2024-01-01 12:00') / 3600, next_action,
            converted_within_1d
        from '{labels}/label_next.parquet'
        join '{labels}/label_conversion.parquet' using (user_id, event_timestamp)
        where user_id = 'idle'
        order by 1"""
    for busy_at, expected in (
        (None, [(0, None, None)]),
        (9, [(0, "leave", None), (2, None, None), (8, None, None)]),
        (33, [(0, "leave", False), (2, None, False), (8, None, False), (32, None, None)]),
        # And back.
        (None, [(0, None, None)]),
    ):
        more = [] if busy_at is None else [f"busy,view,{noon + timedelta(hours=busy_at)}"]
        log.write_text("\n".join([*lines, *more]) + "\n")
        build = dbt_session(tmp_path / "home", variables, *select)
        assert build.returncode == 0, build.output
        assert build.query(labels) == expected, busy_at


def test_builds_that_are_killed_lose_nothing(
    few_scales: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    rows, config = random_log(13, events=160)
    readings = growth(rows, random.Random(3))
    home = tmp_path / "home"
    _, variables = write_log(readings[0], tmp_path / "log", config)
    assert dbt_session(home, variables, project=few_scales).returncode == 0

    def counts() -> dict[str, int]:
        folder = Path(os.path.realpath(home / "features"))
        files = [*folder.iterdir(), *(folder.parent / "labels").iterdir()]
        assert len(files) == 21
        return {
            file.name: duckdb.sql(f"select count(*) from '{file}'").fetchall()[0][0]
            for file in files
        }

    in_force = counts()
    rng = random.Random(5)
    for reading in (readings[2], readings[4], readings[3]):
        _, variables = write_log(reading, tmp_path / "log", config)
        process = dbt_session.start(home, variables, few_scales)
        # Up to the first model dbt only starts; from there on the moment is drawn.
        process.wait_for(f"  {rng.randint(1, 35)} of ")
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert counts() == in_force
    build = dbt_session(home, variables, project=few_scales)
    assert build.returncode == 0, build.output
    full = dbt_session(tmp_path / "full", variables, project=few_scales)
    assert table_differences(home, full.home) == []
    # Nothing that the killed builds had begun is left.
    assert len(list((home / ".built" / "features").iterdir())) == 17


def test_of_two_builds_at_once_the_second_says_so(
    few_scales: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    rows, config = random_log(13, events=160)
    _, variables = write_log(rows, tmp_path / "log", config)
    first = dbt_session.start(tmp_path / "home", variables, few_scales)
    first.wait_for("  1 of ")
    first.send_signal(signal.SIGSTOP)  # or it may end before the second asks for the warehouse
    second = dbt_session(tmp_path / "home", variables, project=few_scales)
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0, first.output
    assert second.returncode == 2
    assert "warehouse.duckdb cannot be opened" in second.complaint
    assert "one process can hold it at a time" in second.complaint
