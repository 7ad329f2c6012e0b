"""Dirty logs, as they come: where each case of ours has its test.

E1 to E24 are public bug reports of tools like this one, each turned into what this project must do.

======  ============================================================  ==============================
case    must                                                          test
======  ============================================================  ==============================
E1      an empty log publishes 0 rows in every file                   dbt_project/test_publishing.py
E2      a day appended twice: rows = distinct keys                    scenarios/test_increments.py
E3      a shrunken input leaves no stale row                          scenarios/test_increments.py
E4      full refresh and again, 4 threads, five times from cold       here
E5      the warehouse held open by a reader: one clear message        dbt_project/test_bad_input.py
E6      host in New York, Kolkata or UTC: equal bytes                 dbt_project/test_timestamps.py
E7      days skipped, an event 10 days late                           scenarios/test_increments.py
E8      `--empty`, then a build                                       dbt_project/test_publishing.py
                                                                      and test_increments.py
E9      a session across an increment's edge                          scenarios/test_increments.py
E10     an event every 29 minutes for 40 days                         here
E11     twice on one input: equal bytes; in any order: same sessions  dbt_project/test_publishing.py
                                                                      and here (shuffled)
E12     an event 150 days late                                        scenarios/test_increments.py
E13     year 2099: rejected, reported; the next day still loads       here
E14     each event twice, the second with another duration            here
E15     ties, shuffled, 1 and 4 threads: one answer                   here (shuffled)
E16     events at t, t - W and t - W - 1 µs                           here
E17     memory_limit: completes, spill folder cleaned                 scenarios/test_large_logs.py
E18     23:30 UTC under three host zones                              dbt_project/test_timestamps.py
E19     mixed offsets: the same instants                              dbt_project/test_timestamps.py
E20     types equal in contract, Parquet and Feast                    dbt_project/test_bundled.py
                                                                      and here (Feast)
E21     null timestamps are counted                                   dbt_project/test_staging.py
E22     windows computed together = each computed alone               here
E23     the cost of an increment does not depend on W                 scenarios/test_increments.py
E24     shuffled 50 times, 1, 2 and 4 threads                         here (shuffled)
======  ============================================================  ==============================

Beside them: mixed offsets and naive strings, DST days, epochs (test_timestamps.py, and here with
their gaps); 1970 (here); one row, killed builds (test_publishing.py); `007`, quotes, two-line texts
(test_staging.py); unicode, NUL, very long ids, BOM, CRLF, gzip (here); a renamed column, broken
CSV and Parquet (test_bad_input.py); 200 action types, one user with 1M events, what a killed build
has spilled (scenarios/test_large_logs.py); bots (dbt_project/test_bots.py); what a killed build
leaves of an increment (test_increments.py).
"""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bare_project import bare_project
from dbt_runner import Build
from dbt_session import DbtSession
from oracle import (
    DEFAULT_SCALES,
    MINUTE,
    OracleConfig,
    micros,
)
from parity import WINDOWED, StepFunction
from published import published_bytes
from strategies import RawLog, random_log, write_log

Query = Callable[[Build, str], list[tuple[Any, ...]]]

CLOCK = 1_767_225_600_000_000  # 2026-01-01: after every accepted event, before every reject
START = datetime(2024, 1, 1)
COLUMNS = {"user_id": "who", "action_type": "what", "event_timestamp": "at"}
WIDTHS = {scale: width for scale, width in DEFAULT_SCALES.items() if width is not None}


# Times --------------------------------------------------------------------------------------------


def edge_times(width: int) -> list[datetime]:
    """T - W - 1 µs, T - W, T - W + 1 µs and T, for T the start of 2025."""
    steps = [-width - 1, -width, -width + 1, 0]
    return [datetime(2025, 1, 1) + timedelta(microseconds=step) for step in steps]


CALENDAR: dict[str, list[str]] = {
    "every 29 minutes": [str(START + timedelta(minutes=29 * n)) for n in range(1987)],
    "1970": ["1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z"],
    # One second before and after the clocks change.
    "spring in New York": ["2024-03-10T01:59:59-05:00", "2024-03-10T03:00:00-04:00"],
    "autumn in New York": ["2024-11-03T01:59:59-04:00", "2024-11-03T01:00:00-05:00"],
    "autumn in Berlin": ["2024-10-27T02:59:59+02:00", "2024-10-27T02:00:00+0100"],
    "in the future": ["2024-01-01 10:00:00", "2099-01-01 00:00:00"],
    **{f"edges of {scale}": [str(t) for t in edge_times(w)] for scale, w in WIDTHS.items()},
}


@pytest.fixture(scope="module")
def calendar(dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build of users whose times are hard."""
    folder = tmp_path_factory.mktemp("calendar")
    lines = [f"{user},act,{time}" for user, times in CALENDAR.items() for time in times]
    (folder / "log.csv").write_text("\n".join(["who,what,at", *lines]) + "\n")
    variables = {
        "dataset": "calendar",
        "events_path": str(folder / "log.csv"),
        "columns": COLUMNS,
        "actions": ["act"],
    }
    build = dbt_session(folder / "home", variables)
    assert build.returncode == 0, build.output
    return build


def steps_of(build: Build, view: str) -> StepFunction:
    return StepFunction(build.rows(f"features/{view}"))


def test_an_event_every_29_minutes_is_one_session(calendar: Build) -> None:
    user, events, last = "every 29 minutes", 1987, START + timedelta(minutes=29 * 1986)
    sessions = steps_of(calendar, "user_session").rows[user]
    # One row an event, and one for the close: no session is stored again at every event.
    assert len(sessions) == events + 1
    assert len({row["event_timestamp"] for row in sessions}) == events + 1
    assert {row["session_started_at"] for row in sessions} == {START}
    assert {row["session_ordinal"] for row in sessions} == {1}
    assert [row["session_event_count"] for row in sessions] == [*range(1, events + 1), events]
    assert sessions[-1]["event_timestamp"] == last + timedelta(minutes=30)
    assert not sessions[-1]["session_is_open"]
    # 2 · 29, 49 · 29, 347 · 29 and 1489 · 29 minutes are the last that a window reaches back.
    for scale, count in {"1h": 3, "1d": 50, "7d": 348, "30d": 1490, "all": events}.items():
        row = steps_of(calendar, f"user_activity_{scale}").at(user, micros(last))
        assert row is not None and row[f"event_count_{scale}"] == count
        assert row[f"session_count_{scale}"] == (1 if scale in ("all", "90d", "365d") else 0)
    following = [row for row in calendar.rows("labels/label_next") if row["user_id"] == user]
    assert {row["next_gap_ms"] for row in following} <= {29 * 60_000, None}


@pytest.mark.parametrize("scale", WIDTHS)
def test_an_event_at_the_start_of_a_window_is_out(scale: str, calendar: Build) -> None:
    steps, user = steps_of(calendar, f"user_activity_{scale}"), f"edges of {scale}"
    end = micros(datetime(2025, 1, 1))
    # At T: T - W is out, the one 1 µs later and T itself are in.
    for late, count in {-2: 3, -1: 2, 0: 2, 1: 1}.items():
        row = steps.at(user, end + late)
        assert row is not None and row[f"event_count_{scale}"] == count, late


def test_days_around_1970(calendar: Build) -> None:
    steps = steps_of(calendar, "user_activity_1d")
    days = [row["active_days_1d"] for row in steps.rows["1970"]]
    assert steps.instants["1970"][:3] == [-1, 0, 1]
    assert days == [1, 2, 2, 1, 1, 0]
    hours = steps_of(calendar, "user_rhythm_7d").at("1970", 1)
    assert hours is not None
    assert (hours["hour_histogram_7d"][23], hours["hour_histogram_7d"][0]) == (1, 2)
    # Wednesday, and twice Thursday.
    assert hours["weekday_histogram_7d"] == [0, 0, 1, 2, 0, 0, 0]


@pytest.mark.parametrize("place", ["spring in New York", "autumn in New York", "autumn in Berlin"])
def test_a_second_is_a_second_when_the_clocks_change(place: str, calendar: Build) -> None:
    last = steps_of(calendar, "user_activity_1h").rows[place][1]
    assert (last["event_count_1h"], last["gap_ms_mean_1h"]) == (2, 1000.0)


def test_the_year_2099_is_rejected_and_the_next_day_still_loads(
    calendar: Build, dbt_session: DbtSession, tmp_path: Path
) -> None:
    assert calendar.accounting["rejected"] == {"future_timestamp": 1}
    log = "who,what,at\nu,act,2024-01-01 10:00:00\nu,act,2099-01-01 00:00:00\n"
    variables = {
        "dataset": "grows",
        "events_path": str(tmp_path / "log.csv"),
        "columns": COLUMNS,
        "actions": ["act"],
    }
    select = ("--select", "+user_activity_1d", "+label_next", "event_accounting")
    for days in (1, 2):
        (tmp_path / "log.csv").write_text(log + "u,act,2024-01-02 09:00:00\n" * (days - 1))
        build = dbt_session(tmp_path / "home", variables, *select)
        assert build.returncode == 0, build.output
        assert build.accounting["accepted"] == days
        assert build.accounting["rejected"] == {"future_timestamp": 1}
        times = steps_of(build, "user_activity_1d").instants["u"]
        assert micros(datetime(2024, 1, 2, 9)) in times or days == 1
        assert max(times) < micros(datetime(2024, 1, 4))


# Texts --------------------------------------------------------------------------------------------

# Names that readers and keys trip over; each is another user.
HOSTILE = [
    *(
        "007",
        "7",
        " 7",
        "7.0",
        "1e3",
        "NULL",
        "nan",
        "true",
        "{}",
        "%",
        "\\",
        "\\N",
        "'",
        '"',
        "a,b",
    ),
    *("two\nlines", "a\tb", "a\0b", "a\0c", "a", "a\0", "\0", "é", "e\u0301", "Ünï", "ÜNÏ", "名前"),
    *("שלום", "😀", "\u200b", "\ufeff", "../x", "=1+1", "L" * 100_000, "L" * 100_000 + "l"),
]


def hostile_log() -> tuple[RawLog, OracleConfig]:
    """Two sessions of each hostile user, on items that are called like him."""
    config = OracleConfig(actions=["view", "buy"], action_roles={"buy": "conversion"})
    rows: RawLog = []
    for number, name in enumerate(HOSTILE):
        for event, minutes in enumerate((0, 0, 10, 45)):
            ts = micros(START) + (number + minutes) * MINUTE
            action = "buy" if event == 2 else "view"
            row = {"user_id": name, "action_type": action, "event_timestamp": ts}
            rows.append({**row, "event_id": f"{number}-{event}", "item_id": name})
    return rows, config


def test_any_text_is_an_id_in_any_form_of_file(dbt_session: DbtSession, tmp_path: Path) -> None:
    rows, config = hostile_log()
    path, variables = write_log(rows, tmp_path, config, form="parquet")
    select = (
        "--select",
        "+user_activity_1h",
        "+user_activity_all",
        "+user_sequence",
        "+user_session",
    )
    select += ("+item_activity_1h", "+label_next", "+events", "event_accounting")
    build = dbt_session(tmp_path / "parquet", variables, *select)
    assert build.returncode == 0, build.output
    assert build.accounting == {
        "raw": len(rows),
        "accepted": len(rows),
        "duplicates": 0,
        "rejected": {},
    }
    for view in ("user_activity_1h", "user_sequence", "user_session"):
        assert set(steps_of(build, view).rows) == set(HOSTILE)
    items = StepFunction(build.rows("features/item_activity_1h"), "item_id")
    assert set(items.rows) == set(HOSTILE)
    counts, sequences = steps_of(build, "user_activity_all"), steps_of(build, "user_sequence")
    for name in HOSTILE:
        assert counts.rows[name][-1]["event_count_all"] == 4
        assert counts.rows[name][-1]["session_count_all"] == 2
        assert sequences.rows[name][-1]["sequence_items"] == [name] * 4

    # As other programs write it: a BOM, CRLF, every field quoted, compressed.
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(["who", "what", "time_stamp", "key", "thing"])
    for row in rows:
        at = datetime(1970, 1, 1) + timedelta(microseconds=row["event_timestamp"])
        writer.writerow([row["user_id"], row["action_type"], at, row["event_id"], row["item_id"]])
    zipped = tmp_path / "log.csv.gz"
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.getvalue().encode()))
    again = dbt_session(tmp_path / "gzip", {**variables, "events_path": str(zipped)}, *select)
    assert again.returncode == 0, again.output
    assert published_bytes(again.home) == published_bytes(build.home)


# Order and threads --------------------------------------------------------------------------------


def test_fifty_shuffles_and_any_number_of_threads_give_one_answer(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    """One log holds fifty copies of a small one, each of other users and in another order."""
    rng = random.Random(1)
    config = OracleConfig(actions=["view", "buy"], action_roles={"buy": "conversion"})
    # Whole quarters of an hour, so that instants tie and sessions end exactly at the gap.
    small: RawLog = [
        {
            "user_id": rng.choice("ab"),
            "action_type": rng.choice(["view", "buy"]),
            "event_timestamp": micros(START) + rng.randrange(60) * 15 * MINUTE,
            "event_id": f"{number:02}",
            "item_id": rng.choice("xyz"),
            "category_id": rng.choice(["red", "blue", None]),
            "duration_ms": rng.choice([None, 5, 7]),
        }
        for number in range(40)
    ]
    small += [dict(rng.choice(small), duration_ms=9) for _ in range(6)]  # copies that came later
    place = {id(row): position for position, row in enumerate(small)}
    rows: RawLog = []
    for copy in range(50):
        shuffled = [
            {
                **row,
                **{key: f"{copy:02}/{row[key]}" for key in ("user_id", "event_id", "item_id")},
                # Which copy of an id came first has to be known from the row.
                "ingested_at": row["event_timestamp"] + place[id(row)],
            }
            for row in rng.sample(small, len(small))
        ]
        rows += shuffled
    _, variables = write_log(rows, tmp_path, config)
    views = ("user_activity_1h", "user_transitions_1d", "user_session", "user_sequence")
    select = ("--select", *(f"+{view}" for view in views), "+item_activity_1h", "+label_next")
    builds = []
    for threads in ("1", "2", "4"):
        home = tmp_path / threads
        build = dbt_session(home, variables, *select, "event_accounting", "--threads", threads)
        assert build.returncode == 0, build.output
        builds.append(published_bytes(home))
    assert builds[0] == builds[1] == builds[2]
    assert build.accounting["duplicates"] == 50 * 6

    answers: dict[str, dict[str, list[str]]] = {}
    for relation in (
        *(f"features/{view}" for view in (*views, "item_activity_1h")),
        "labels/label_next",
    ):
        for row in build.rows(relation):
            copy = (row.get("user_id") or row["item_id"])[:2]
            text = re.sub(rf"\b{copy}/", "", repr(row))
            answers.setdefault(relation, {}).setdefault(copy, []).append(text)
    for relation, copies in answers.items():
        assert len(copies) == 50, relation
        assert len({tuple(texts) for texts in copies.values()}) == 1, relation
        assert len(copies["00"]) > 20, relation


def test_a_copy_that_came_later_changes_nothing(dbt_session: DbtSession, tmp_path: Path) -> None:
    rows, config = random_log(8, dirty=False)
    # Ids break ties, not the places in the file, which are others when there are copies.
    config = replace(config, tie_order=[])
    assert all(row["event_id"] is not None for row in rows)
    later = [
        # Earlier in the file, but learned of a second later.
        {
            **row,
            "duration_ms": 77,
            "ingested_at": (row["ingested_at"] or row["event_timestamp"]) + 1_000_000,
        }
        for row in rows
    ]
    select = ("--select", "+user_activity_1d", "+user_sequence", "+events", "event_accounting")
    found = []
    for name, log in (("once", rows), ("twice", [*later, *rows])):
        _, variables = write_log(log, tmp_path / name, config)
        build = dbt_session(tmp_path / name / "home", variables, *select)
        assert build.returncode == 0, build.output
        assert build.accounting["accepted"] == len(rows)
        found.append(published_bytes(build.home))
    assert build.accounting["duplicates"] == len(rows)
    for files in found:
        del files["reports/accounting.json"]
    assert len(found[0]) == 3
    assert found[0] == found[1]


def test_five_cold_starts_with_four_threads(
    dbt_session: DbtSession, few_scales: Path, tmp_path: Path
) -> None:
    rows, config = random_log(8, events=40)
    _, variables = write_log(rows, tmp_path, config)
    select = (
        "--select",
        "+user_activity_30d",
        "+user_session",
        "+item_activity_30d",
        "--threads",
        "4",
    )
    found = []
    for start in range(5):
        for arguments in (("--full-refresh",), ()):
            home, project = tmp_path / str(start), few_scales
            build = dbt_session(home, variables, *select, *arguments, project=project)
            assert build.returncode == 0, build.output
            found.append(published_bytes(build.home))
    assert len(found[0]) == 3
    assert all(files == found[0] for files in found)


# Views --------------------------------------------------------------------------------------------


def test_a_window_computed_alone_is_the_one_computed_with_the_others(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    rows, config = random_log(9)
    _, variables = write_log(rows, tmp_path, config)
    together = dbt_session(tmp_path / "together", variables)
    assert together.returncode == 0, together.output
    whole = published_bytes(together.home)

    project = bare_project(tmp_path / "repository")
    for family in WINDOWED:
        for model in (project / "models" / "features" / family).glob("*.sql"):
            if not model.stem.endswith("_30d"):
                model.unlink()
    for model in ("user_recency", "user_session", "user_sequence"):
        (project / "models" / "features" / f"{model}.sql").unlink()
    alone = dbt_session(tmp_path / "alone", variables, project=project)
    assert alone.returncode == 0, alone.output
    found = published_bytes(alone.home)
    views = {f"features/{family}_30d.parquet" for family in WINDOWED} | {
        "features/user_pattern.parquet"
    }
    assert {name for name in found if name.startswith("features/")} == views
    assert found == {name: whole[name] for name in found}


def test_every_feature_has_one_type_in_the_file_and_in_feast(shop_home: Path) -> None:
    from feast import FeatureView, types

    from feature_repo import feast_objects

    same = {
        "BIGINT": types.Int64,
        "DOUBLE": types.Float64,
        "BOOLEAN": types.Bool,
        "VARCHAR": types.String,
        "TIMESTAMP": types.UnixTimestamp,
        "BIGINT[]": types.Array(types.Int64),
        "DOUBLE[]": types.Array(types.Float64),
        "VARCHAR[]": types.Array(types.String),
    }
    views = [o for o in feast_objects.build(shop_home) if isinstance(o, FeatureView)]
    seen = set()
    for view in views:
        published = duckdb.sql(f"from '{shop_home}/features/{view.name}.parquet'")
        in_file = dict(zip(published.columns, map(str, published.types), strict=True))
        keys = {*view.join_keys, "event_timestamp", "computed_at"}
        declared = {field.name: field.dtype for field in view.features}
        assert declared == {c: same[t] for c, t in in_file.items() if c not in keys}, view.name
        seen |= set(in_file.values())
    assert len(views) == 36
    assert seen == set(same)
