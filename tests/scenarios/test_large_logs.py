"""Logs that are large: many actions, one user with all of it, little memory.

The ones marked slow are left out of `make test`; `make test-slow` runs them.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt_session import PROJECT, DbtSession
from oracle import DAY, Oracle, OracleConfig, account, differences
from parity import StepFunction, expected, feature_differences, label_differences
from published import published_bytes
from strategies import RawLog, random_log, write_log

CLOCK = 1_767_225_600_000_000  # 2026-01-01: after every accepted event, before every reject
COLUMNS = {"user_id": "who", "action_type": "what", "event_timestamp": "at"}


def wide_log(events: int) -> tuple[RawLog, OracleConfig]:
    """A log with two hundred kinds of actions."""
    config = OracleConfig(
        actions=[f"kind_{number}" for number in range(200)],
        action_roles={"kind_3": "search", "kind_7": "conversion"},
        horizons={"1d": DAY},
    )
    return random_log(4, events=events, config=config)


def test_two_hundred_actions(dbt_session: DbtSession, tmp_path: Path) -> None:
    rows, config = wide_log(events=40)
    _, variables = write_log(rows, tmp_path, config)
    families = ("user_activity", "user_transitions")
    select = ("--select", *(f"+{family}_7d" for family in families))
    build = dbt_session(tmp_path / "home", variables, *select)
    assert build.returncode == 0, build.output
    events, _, _ = account(rows, config, CLOCK)
    oracle, found = Oracle(events, config), []
    for family in families:
        steps = StepFunction(build.rows(f"features/{family}_7d"))
        for user in oracle.users:
            assert steps.instants[user] == oracle.change_instants(family, "7d", user)
            for t in steps.instants[user]:
                row = expected(oracle, family, "7d", user, t)
                found += [f"{user!r} at {t}: {d}" for d in differences(row, steps.at(user, t))]
    assert found == []


@pytest.mark.slow
def test_two_hundred_actions_in_every_view(dbt_session: DbtSession, tmp_path: Path) -> None:
    rows, config = wide_log(events=200)
    _, variables = write_log(rows, tmp_path, config)
    build = dbt_session(tmp_path / "home", variables, "--threads", "1")
    assert build.returncode == 0, build.output
    events, _, _ = account(rows, config, CLOCK)
    assert feature_differences(build, events, config, random.Random(1), per_user=10)[1] == []
    assert label_differences(build, events, config) == []


def write_uniform_log(path: Path, events: int, users: int) -> dict[str, Any]:
    """A Parquet log with ties, and its dataset file."""
    duckdb.sql(
        f"""copy (
            select
                'u' || (hash(i) % {users}) as who,
                ['view', 'cart', 'buy'][cast(hash(i, 1) % 3 as bigint) + 1] as what,
                timestamp '2024-01-01' + to_seconds(cast(hash(i, 2) % 10000000 as bigint)) as at,
                'i' || (hash(i, 3) % 1000) as thing,
                i as key
            from range({events}) as t (i)
        ) to '{path}'"""
    )
    return {
        "dataset": "uniform",
        "events_path": str(path),
        "columns": {**COLUMNS, "item_id": "thing", "event_id": "key"},
        "actions": ["view", "cart", "buy"],
    }


@pytest.mark.slow
def test_long_files_are_in_order(dbt_session: DbtSession, tmp_path: Path) -> None:
    """Also those whose narrow rows are sorted before they become wide ones."""
    variables = write_uniform_log(tmp_path / "log.parquet", events=260_000, users=2000)
    views = ("user_activity_1d", "user_rhythm_7d", "user_transitions_1d", "user_sequence")
    build = dbt_session(tmp_path / "home", variables, "--select", *(f"+{view}" for view in views))
    assert build.returncode == 0, build.output
    with duckdb.connect(str(build.home / "warehouse.duckdb"), read_only=True) as warehouse:
        cuts = [cut for (cut,) in warehouse.execute("from state.time_slices").fetchall()]
    assert len(cuts) == 11
    for view in views:
        file = f"{build.home}/features/{view}.parquet"
        groups = duckdb.sql(f"select num_row_groups from parquet_file_metadata('{file}')")
        assert groups.fetchall()[0][0] > 1
        # In slices of time, and in each by user and instant.
        wrong = duckdb.execute(
            f"""with places as (
                select
                    file_row_number as place,
                    (
                        len(list_filter($cuts, lambda cut: event_timestamp > cut)),
                        user_id,
                        event_timestamp
                    ) as key
                from read_parquet('{file}', file_row_number = true)
            )
            select count(*)
            from (select key, lag(key) over (order by place) as before from places)
            where before >= key""",
            {"cuts": cuts},
        ).fetchall()
        assert wrong == [(0,)], view


def test_many_rows_are_written_in_parts(dbt_session: DbtSession, tmp_path: Path) -> None:
    """So many events a part, users in order; no user is lost between two of them."""
    # A project to which a log is large that has a twentieth of the events.
    project = Path(shutil.copytree(PROJECT, tmp_path / "repository" / "dbt_project"))
    for name, large, less in (
        ("models/features/user_sequence.sql", "50000", "25000"),
        ("macros/updates/parts.sql", "2000000", "25000"),
        ("macros/updates/change_log.sql", "250000", "12500"),
    ):
        file = project / name
        assert file.read_text().count(large) == 1
        file.write_text(file.read_text().replace(large, less))
    variables = write_uniform_log(tmp_path / "log.parquet", events=25_500, users=500)
    select = ("--select", "+user_sequence", "+user_activity_1d")
    build = dbt_session(tmp_path / "home", variables, *select, project=project)
    assert build.returncode == 0, build.output
    for view in ("user_activity_1d", "user_sequence"):
        file = f"{build.home}/features/{view}.parquet"
        # All rows of some users come before all rows of the others, once: there are two parts.
        borders = duckdb.sql(
            f"""with places as (
                select user_id, min(file_row_number) as first, max(file_row_number) as last
                from read_parquet('{file}', file_row_number = true) group by user_id
            )
            select user_id from places
            qualify max(last) over (order by user_id) < min(first) over (
                order by user_id rows between 1 following and unbounded following
            )"""
        ).fetchall()
        assert len(borders) == 1, view
    wrong = duckdb.sql(
        f"""with expected as (
            select
                who as user_id,
                "at" as event_timestamp,
                list(what) over last_50 as actions,
                list(thing) over last_50 as items
            from '{tmp_path}/log.parquet'
            window last_50 as (
                partition by who order by "at", cast("key" as varchar)
                rows between 49 preceding and current row
            )
            qualify lead("at") over (partition by who order by "at", cast("key" as varchar))
                is distinct from "at"
        )
        select count(*)
        from expected full join '{file}' as found using (user_id, event_timestamp)
        where actions is distinct from sequence_actions or items is distinct from sequence_items"""
    ).fetchall()
    assert wrong == [(0,)]
    steps = duckdb.sql(
        f"""with expected as (
            select distinct on (who, "at") who as user_id, "at" as event_timestamp,
                count(*) over (
                    partition by who order by "at"
                    range between interval 1 day - interval 1 microsecond preceding and current row
                ) as events
            from '{tmp_path}/log.parquet'
        ),
        instants as (
            select user_id, event_timestamp from expected
            union
            select user_id, event_timestamp + interval 1 day from expected
        )
        select
            (select count(*) from instants),
            count(*),
            count(*) filter (where events = event_count_1d),
            count(events)
        from '{build.home}/features/user_activity_1d.parquet'
        semi join instants using (user_id, event_timestamp)
        left join expected using (user_id, event_timestamp)"""
    ).fetchall()
    (instants, rows, equal, at_events), published = (
        steps[0],
        build.query("select count(*) from '{features}/user_activity_1d.parquet'"),
    )
    assert instants == rows == published[0][0]
    assert equal == at_events > 25_000


@contextmanager
def watched(folder: Path) -> Iterator[set[str]]:
    """The names of the files that lie in a folder at some moment of the block."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if folder.is_dir():
                seen.update(file.name for file in folder.iterdir())
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_with_little_memory_a_build_spills_and_leaves_nothing_behind(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    variables = write_uniform_log(tmp_path / "log.parquet", events=40_000, users=1000)
    select = ("--select", "+user_activity_7d", "event_accounting")
    plain = dbt_session(tmp_path / "plain", variables, *select)
    assert plain.returncode == 0, plain.output

    spilled = tmp_path / "spilled"
    limits = {"SCALESPACE_MEMORY_LIMIT": "60MB", "SCALESPACE_TEMP_DIRECTORY": str(spilled)}
    with watched(spilled) as seen:
        small = dbt_session(tmp_path / "small", variables, *select, "--threads", "1", env=limits)
    assert small.returncode == 0, small.output
    assert published_bytes(small.home) == published_bytes(plain.home)
    assert seen, "nothing was spilled"
    assert list(spilled.iterdir()) == []
    assert not (small.home / "warehouse.duckdb.tmp").exists()


def test_what_a_killed_build_has_spilled_is_dropped(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    rows, config = random_log(8, events=1)
    _, variables = write_log(rows, tmp_path, config)
    spilled = tmp_path / "home" / "warehouse.duckdb.tmp"
    spilled.mkdir(parents=True)
    (spilled / "duckdb_temp_1_0_storage_DEFAULT-0.tmp").touch()
    build = dbt_session(tmp_path / "home", variables, "--select", "base_events")
    assert build.returncode == 0, build.output
    assert list(spilled.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SCALESPACE_MEMORY_LIMIT", "a lot", "as in 4GB or 50%"),
        ("SCALESPACE_TEMP_DIRECTORY", "spilled", "as an absolute path"),
        ("SCALESPACE_TEMP_DIRECTORY", "/proc/spilled", "cannot be made"),
    ],
)
def test_a_limit_that_is_none_is_refused(
    name: str, value: str, said: str, dbt_session: DbtSession, tmp_path: Path
) -> None:
    rows, config = random_log(8, events=1)
    _, variables = write_log(rows, tmp_path, config)
    build = dbt_session(tmp_path / "home", variables, env={name: value})
    assert build.returncode == 2
    assert build.complaint.startswith(f"scalespace: {name} is '{value}'")
    assert said in build.complaint
    assert "Traceback" not in build.output


@pytest.mark.slow
def test_five_million_events_in_one_gigabyte(dbt_session: DbtSession, tmp_path: Path) -> None:
    variables = write_uniform_log(tmp_path / "log.parquet", events=5_000_000, users=50_000)
    limit = {"SCALESPACE_MEMORY_LIMIT": "1GB"}
    build = dbt_session(tmp_path / "home", variables, "--threads", "1", env=limit)
    assert build.returncode == 0, build.output
    assert build.accounting["accepted"] == 5_000_000
    assert not (build.home / "warehouse.duckdb.tmp").exists()
    counted = """
        select sum(events) from (
            select max(event_count_all) as events
            from '{features}/user_activity_all.parquet'
            group by user_id
        )"""
    assert build.query(counted) == [(5_000_000,)]


@pytest.mark.slow
def test_sequences_of_long_names_in_one_gigabyte(dbt_session: DbtSession, tmp_path: Path) -> None:
    """Rows twice as wide as those of short names: of fifty events, three names each."""
    variables = write_uniform_log(tmp_path / "log.parquet", events=1_000_000, users=10_000)
    name = {"sql": "md5(thing) || '-' || left(thing, 3)"}
    variables["columns"] |= {"item_id": name, "category_id": name, "location": name}
    limit = {"SCALESPACE_MEMORY_LIMIT": "1GB"}
    build = dbt_session(tmp_path / "home", variables, "--select", "+user_sequence", env=limit)
    assert build.returncode == 0, build.output
    counted = """
        select count(*), min(length(items[1])), max(length(items[1])) from (
            select user_id, max_by(sequence_items, event_timestamp) as items
            from '{features}/user_sequence.parquet'
            group by user_id
        )"""
    assert build.query(counted) == [(10_000, 35, 36)]


@pytest.mark.slow
def test_one_user_with_a_million_events(dbt_session: DbtSession, tmp_path: Path) -> None:
    variables = write_uniform_log(tmp_path / "log.parquet", events=1_000_000, users=1)
    build = dbt_session(tmp_path / "home", variables)
    assert build.returncode == 0, build.output
    most = "select max(event_count_{0}) from '{{features}}/user_activity_{0}.parquet'"
    assert build.query(most.format("all")) == [(1_000_000,)]
    day_before = "range interval 86399999999 microseconds preceding"
    by_hand = duckdb.sql(
        f"""select max(events) from (
            select count(*) over (order by "at" {day_before}) as events
            from '{tmp_path}/log.parquet'
        )"""
    ).fetchall()
    assert build.query(most.format("1d")) == by_hand
