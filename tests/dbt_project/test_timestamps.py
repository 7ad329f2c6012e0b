"""When an event happened: one instant, however it is written and wherever the build runs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dbt_runner import Build, dbt
from dbt_session import DbtSession
from oracle import DAY
from published import published_bytes
from strategies import FAR_FUTURE, RawLog, random_log, write_log

Stage = Callable[..., Build]
Query = Callable[[Build, str], list[tuple[Any, ...]]]

NEW_YORK = ZoneInfo("America/New_York")
TEN = datetime(2024, 1, 1, 10)

# Text in a log of source_timezone UTC, and its instant: None where it is none.
TEXTS: dict[str, datetime | None] = {
    "2024-01-01 10:00:00": TEN,
    "2024-01-01T10:00:00Z": TEN,
    "2024-01-01 10:00:00 UTC": TEN,
    "2024-01-01T10:00": TEN,
    "2024-01-01T15:30:00+05:30": TEN,
    "2024-01-01T15:30:00+0530": TEN,
    "2024-01-01 05:00:00-05": TEN,
    "2024-01-01 12:00:00 +0200": TEN,  # as git writes it
    "2024-01-01T15:30+05:30": TEN,
    "2024-01-01 10:00:00.123456": TEN + timedelta(microseconds=123_456),
    "2024-01-01T05:00:00.123456-05:00": TEN + timedelta(microseconds=123_456),
    "2024-01-02T00:30:00+05:30": datetime(2024, 1, 1, 19),
    "2024-01-02": datetime(2024, 1, 2),
    "1970-01-01 00:00:00": datetime(1970, 1, 1),
    "1969-12-31 23:59:59.999999": datetime(1969, 12, 31, 23, 59, 59, 999_999),
    "2023-02-29 10:00:00": None,
    "yesterday": None,
    "infinity": None,
    "": None,
    # DuckDB reads these; what reads its files ends at the years 1 and 9999.
    "0001-01-01 00:00:00": datetime(1, 1, 1),
    "0001-12-31 (BC) 23:59:59": None,
    "290308-01-01 (BC) 00:00:00": None,
    "10000-01-01 00:00:00": None,
}
# Readings of a clock in New York, around the hour that it lacks in spring and has twice in autumn.
CLOCKS = [
    datetime(2024, 1, 15, 12),
    datetime(2024, 3, 10, 1, 59, 59, 999_999),
    datetime(2024, 3, 10, 3),
    datetime(2024, 7, 4, 23, 30),
    datetime(2024, 11, 3, 0, 59, 59),
    datetime(2024, 11, 3, 2),
]
DATASET: dict[str, Any] = {
    "dataset": "clocks",
    "columns": {"user_id": "who", "action_type": {"sql": "'act'"}, "event_timestamp": "at"},
    "actions": ["act"],
}


def write_csv(path: Path, **columns: list[Any]) -> dict[str, Any]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return {**DATASET, "events_path": str(path)}


def write_parquet(path: Path, **columns: Any) -> dict[str, Any]:
    pq.write_table(pa.table(columns), path)
    return {**DATASET, "events_path": str(path)}


def instants(build: Build, warehouse: Query, column: str = "event_timestamp") -> list[Any]:
    """The instants that staging read, in file order."""
    assert build.returncode == 0, build.output
    found = warehouse(build, f"select {column} from base_events order by file_position")
    return [instant for (instant,) in found]


def in_utc(clock: datetime) -> datetime:
    return clock.replace(tzinfo=NEW_YORK).astimezone(UTC).replace(tzinfo=None)


def test_text_with_and_without_an_offset(stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    texts = [*TEXTS, "2099-01-01T00:00:00Z"]
    users = [f"u{number}" for number, _ in enumerate(texts)]
    variables = write_csv(tmp_path / "log.csv", who=users, at=texts)
    build = stage(tmp_path / "home", variables)
    assert instants(build, warehouse) == [*TEXTS.values(), datetime(2099, 1, 1)]
    bad = sum(instant is None for instant in TEXTS.values())
    assert build.accounting == {
        "raw": len(texts),
        "accepted": len(TEXTS) - bad,
        "duplicates": 0,
        "rejected": {"bad_timestamp": bad, "future_timestamp": 1},
    }


def test_text_of_a_clock_in_new_york(stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    # The hour that the clock lacks and the one that it has twice: one answer each, winter time's.
    lacking, twice = datetime(2024, 3, 10, 2, 30), datetime(2024, 11, 3, 1, 30)
    texts = [str(clock) for clock in [*CLOCKS, lacking, twice]] + ["2024-07-04", f"{TEN}Z"]
    variables = write_csv(tmp_path / "log.csv", who=["u"] * len(texts), at=texts)
    build = stage(tmp_path / "home", {**variables, "source_timezone": "America/New_York"})
    assert instants(build, warehouse) == [
        *map(in_utc, CLOCKS),
        datetime(2024, 3, 10, 7, 30),
        datetime(2024, 11, 3, 6, 30),
        datetime(2024, 7, 4, 4),
        TEN,
    ]


def test_typed_clocks_and_instants(stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    variables = write_parquet(
        tmp_path / "log.parquet",
        who=["u"] * len(CLOCKS),
        at=pa.array(CLOCKS, pa.timestamp("us")),
        known=pa.array([in_utc(clock) for clock in CLOCKS], pa.timestamp("us", tz="Asia/Kolkata")),
    )
    variables["columns"] = {**DATASET["columns"], "ingested_at": "known"}
    # The unit is for numbers: it changes nothing for columns that are times already.
    variables |= {"source_timezone": "America/New_York", "timestamp_unit": "ms"}
    build = stage(tmp_path / "home", variables)
    assert instants(build, warehouse) == list(map(in_utc, CLOCKS))
    assert instants(build, warehouse, "ingested_at") == list(map(in_utc, CLOCKS))


def test_typed_days(stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    variables = write_parquet(
        tmp_path / "log.parquet",
        who=["u", "u"],
        at=pa.array([date(2024, 1, 2), date(2024, 7, 2)], pa.date32()),
        known=pa.array([1_704_153_600_000_000_000, None], pa.timestamp("ns")),
    )
    variables["columns"] = {**DATASET["columns"], "ingested_at": "known"}
    build = stage(tmp_path / "home", {**variables, "source_timezone": "Asia/Kolkata"})
    assert instants(build, warehouse) == [
        datetime(2024, 1, 1, 18, 30),
        datetime(2024, 7, 1, 18, 30),
    ]
    assert instants(build, warehouse, "ingested_at") == [datetime(2024, 1, 1, 18, 30), None]


@pytest.mark.parametrize(("unit", "digits"), [("s", 0), ("ms", 3), ("us", 6)])
def test_epochs(unit: str, digits: int, stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    second = 1_704_103_200  # 10:00 on 2024-01-01
    whole = str(second * 10**digits)
    texts = [whole, f"{whole}.5", "0", "-1" + "0" * digits, "9" * 30, "soon", "2024-01-01T10:00Z"]
    texts.append("-70000000000" + "0" * digits)  # 249 BC
    known = ["2024-01-01 10:00:00"] * len(texts)
    variables = write_csv(tmp_path / "log.csv", who=["u"] * len(texts), at=texts, known=known)
    variables["columns"] = {**DATASET["columns"], "ingested_at": "known"}
    build = stage(tmp_path / "home", {**variables, "timestamp_unit": unit})
    half = timedelta(seconds=1) / 2 / 10**digits if digits < 6 else timedelta()
    assert instants(build, warehouse) == [
        TEN,
        TEN + half,
        datetime(1970, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59),
        None,
        None,
        TEN,
        None,
    ]
    # An epoch here does not make numbers of the ISO text beside it.
    assert set(instants(build, warehouse, "ingested_at")) == {TEN}


def test_the_host_s_time_zone_changes_nothing(dbt_session: DbtSession, tmp_path: Path) -> None:
    rows, config = random_log(15, events=60)
    for number, row in enumerate(rows[:10]):
        row["event_timestamp"] = 1_704_151_800_000_000 + number * 60 * 1_000_000  # 23:30 UTC
    _, variables = write_log(rows, tmp_path, config, timestamps="naive")
    variables["source_timezone"] = "America/New_York"
    # The views that know hours and days.
    views = ("+user_activity_1d", "+user_rhythm_7d", "+item_activity_1d", "+action_transitions_1d")
    select = ("--select", *views, "+user_sequence", "event_accounting")

    builds = [dbt_session(tmp_path / "utc", variables, *select)]
    for zone in ("America/New_York", "Asia/Kolkata"):
        builds.append(dbt(tmp_path / zone, variables, *select, env={"TZ": zone}))
    assert [build.returncode for build in builds] == [0, 0, 0], builds[-1].output
    first, *others = [published_bytes(build.home) for build in builds]
    assert len(first) == 6
    assert all(other == first for other in others)


def known_from(row: dict[str, Any]) -> int | None:
    """When a row was learned of; None where nobody can say."""
    times = (row["ingested_at"], row["event_timestamp"])
    return next((time for time in times if isinstance(time, int)), None)


def test_known_at_is_the_build_of_that_moment(
    dbt_session: DbtSession, few_scales: Path, tmp_path: Path
) -> None:
    rows, config = random_log(9)
    moments = sorted(moment for row in rows if (moment := known_from(row)) is not None)
    moment = moments[len(moments) // 2]

    # A row of the moment's future is a reject only to the clock of that moment.
    def ahead(row: dict[str, Any]) -> bool:
        ts = row["event_timestamp"]
        return isinstance(ts, int) and moment + DAY < ts < FAR_FUTURE and known_from(row) <= moment

    rows = [row for row in rows if not ahead(row)]
    early: RawLog = [row for row in rows if (known_from(row) or 0) <= moment]
    assert 0.3 < len(early) / len(rows) < 0.7

    builds = []
    written = (
        datetime(1970, 1, 1) + timedelta(microseconds=moment, hours=2)
    ).isoformat() + "+02:00"
    for name, log, known_at in (("full", rows, {"known_at": written}), ("early", early, {})):
        _, variables = write_log(log, tmp_path / name, config)
        home = tmp_path / name / "home"
        builds.append(dbt_session(home, {**variables, **known_at}, project=few_scales))
        assert builds[-1].returncode == 0, builds[-1].output
    full, truncated = builds
    assert full.accounting == truncated.accounting
    assert full.accounting["raw"] == len(early)
    assert published_bytes(full.home) == published_bytes(truncated.home)
