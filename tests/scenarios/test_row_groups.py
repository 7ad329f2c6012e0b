"""An update writes the row groups anew that hold a changed row, and takes all others over."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from bare_project import bare_project
from dbt_session import DbtSession
from same_tables import table_differences

ROWS_OF_A_GROUP = 2048  # DuckDB's least
START = datetime(2024, 1, 1)
EVENTS, USERS = 26_000, 40
SELECT = ("--select", "+user_activity_1d", "+user_sequence")
VIEWS = ("user_activity_1d", "user_sequence")


@pytest.fixture(scope="module")
def short_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project to which a log is long, and a row group full, that has a tenth of the rows."""
    project = bare_project(tmp_path_factory.mktemp("short"))
    for name, large, small in (
        ("change_log.sql", "250000", "25000"),
        ("incremental_parquet.sql", "20480", str(ROWS_OF_A_GROUP)),
    ):
        macro = project / "macros" / "updates" / name
        assert macro.read_text().count(large) == 1
        macro.write_text(macro.read_text().replace(large, small))
    return project


def write_log(path: Path, events: int, late: list[tuple[str, datetime]]) -> dict[str, Any]:
    """An event every 61 seconds, of each user in turn, and some that came later."""
    more = "".join(
        f" union all select 'late{n}', '{who}', 'buy', timestamp '{at}'"
        for n, (who, at) in enumerate(late)
    )
    duckdb.sql(
        f"""copy (
            select 'e' || i as key, 'u' || i % {USERS} as who, 'view' as what,
                timestamp '{START}' + to_seconds(i * 61) as at
            from range({events}) as t (i){more}
        ) to '{path}'"""
    )
    names = {"event_id": "key", "user_id": "who", "action_type": "what", "event_timestamp": "at"}
    return {
        "dataset": "long",
        "events_path": str(path),
        "columns": names,
        "actions": ["view", "buy"],
    }


def row_groups(file: Path) -> list[bytes]:
    """The pages of each row group."""
    content, metadata = file.read_bytes(), pq.ParquetFile(file).metadata
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(place) for place in range(group.num_columns)]
        starts = [c.dictionary_page_offset or c.data_page_offset for c in chunks]
        ends = [start + c.total_compressed_size for start, c in zip(starts, chunks, strict=True)]
        found.append(content[min(starts) : max(ends)])
    return found


def groups_with(file: Path, user: str, since: datetime) -> set[int]:
    """Which row groups hold a row of a user from an instant on."""
    parquet = pq.ParquetFile(file)
    found = set()
    for number in range(parquet.metadata.num_row_groups):
        keys = parquet.read_row_group(number, ["user_id", "event_timestamp"]).to_pylist()
        if any(row["user_id"] == user and row["event_timestamp"] >= since for row in keys):
            found.add(number)
    return found


def test_late_events_open_the_row_groups_of_their_users_alone(
    short_project: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    home, log = tmp_path / "home", tmp_path / "log.parquet"

    def build(home: Path, events: int, late: list[tuple[str, datetime]]) -> None:
        done = dbt_session(home, write_log(log, events, late), *SELECT, project=short_project)
        assert done.returncode == 0, done.output

    def cuts() -> list[datetime]:
        with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
            rows = warehouse.execute("from state.time_slices order by cut").fetchall()
        return [cut for (cut,) in rows]

    def files() -> dict[str, Path]:
        return {view: (home / "features" / f"{view}.parquet").resolve() for view in VIEWS}

    build(home, EVENTS, [])
    # Each eighth of an event a minute, then halves of what is left, and the end.
    shares = [*(n / 8 for n in range(1, 8)), 15 / 16, 31 / 32, 63 / 64]
    places = [math.ceil(EVENTS * share) - 1 for share in shares] + [EVENTS - 1]
    first_cuts = cuts()
    assert first_cuts == [START + timedelta(seconds=61 * place) for place in places]

    # At a cut, which is the last instant of its slice, and just after another one.
    late = [("u3", first_cuts[3]), ("u3", first_cuts[5] + timedelta(microseconds=1))]
    before = files()
    expected = {view: groups_with(before[view], "u3", first_cuts[3]) for view in VIEWS}
    old = {view: row_groups(before[view]) for view in VIEWS}
    build(home, EVENTS, late)
    for view in VIEWS:
        new = set(row_groups(files()[view]))
        # The last one is opened where it is not full, so that small ones do not grow in number.
        last = {len(old[view]) - 1}
        gone = {number for number, pages in enumerate(old[view]) if pages not in new}
        assert gone == expected[view] | last, view
        # In each of the eight slices from there on, a user of forty lies in a group or two.
        if view == "user_activity_1d":
            assert len(gone) <= 12 < len(old[view]) / 2  # of 26

    # The log goes on: its cuts move, and of the rows up to its old end none is written again.
    before = files()
    end = START + timedelta(seconds=61 * (EVENTS - 1))
    build(home, EVENTS + 400, late)
    assert cuts()[3] > first_cuts[3]
    for view in VIEWS:
        new = set(row_groups(files()[view]))
        old_groups = row_groups(before[view])
        metadata = pq.ParquetFile(before[view])
        for number, pages in enumerate(old_groups[:-1]):
            instants = metadata.read_row_group(number, ["event_timestamp"])["event_timestamp"]
            assert pages in new or max(instants.to_pylist()) > end, (view, number)
        assert len(new & set(old_groups)) > len(old_groups) * 0.7

    build(tmp_path / "full", EVENTS + 400, late)
    assert table_differences(home, tmp_path / "full") == []


def test_the_owners_of_an_update_are_never_paired_with_all_rows(dbt_session: DbtSession) -> None:
    """Where few rows are expected, DuckDB's as-of join is a loop over pairs unless it is told."""
    sql = "select current_setting('asof_loop_join_threshold') as threshold"
    asked = ("--output", "json", "--inline", sql)
    shown = dbt_session(dbt_session.log.parent, None, *asked, command="show")
    assert shown.returncode == 0, shown.output
    assert '"threshold": "0"' in shown.output or '"threshold": 0' in shown.output
