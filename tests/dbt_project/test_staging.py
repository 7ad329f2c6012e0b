"""From the rows of a file to accepted events: nothing vanishes, and nothing is guessed."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dbt_runner import Build
from dbt_session import DbtSession

Stage = Callable[..., Build]
Query = Callable[[Build, str], list[tuple[Any, ...]]]

# Column names that have to be quoted, a text over two lines, and ids that are no numbers.
AWKWARD = '''"id ""key""",Who Is It,select,when,a;b,spent,took
01,007,view,2024-01-01 10:00:00,"two
lines",1.005,10
1,7,view,2024-01-01 10:00:00,"a,b",-2.5,-3
02,007,sale,2024-01-01 10:00:01,,,
1,7,view,2024-01-01 10:00:00,"a,b",-2.5,99
"",7,view,2024-01-01 10:00:00,"a,b",-2.5,99
,,view,2024-01-01 10:00:00,x,1,1
03,7,view,2099-01-01 10:00:00,x,1,1
04,7,view,,x,1,1
05,7,NULL,2024-01-02 10:00:00,x,1,1
'''
DATASET: dict[str, Any] = {
    "dataset": "awkward",
    "columns": {
        "event_id": 'id "key"',
        "user_id": "Who Is It",
        # An expression may use a name that a measure has too.
        "action_type": {"sql": "case when spent is null then 'sale' else \"select\" end"},
        "event_timestamp": "when",
        "item_id": "a;b",
        "duration_ms": "took",
    },
    "measures": {"spent": {"sql": "spent", "decimals": 2}},
    "actions": ["view", "sale"],
}


def test_every_row_has_a_verdict(stage: Stage, warehouse: Query, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(AWKWARD)
    build = stage(tmp_path / "home", {**DATASET, "events_path": str(tmp_path / "log.csv")})
    assert build.returncode == 0, build.output

    rejected = {"null_user": 1, "bad_timestamp": 1, "future_timestamp": 1, "unknown_action": 1}
    assert build.accounting == {"raw": 9, "accepted": 4, "duplicates": 1, "rejected": rejected}
    assert "1 negative durations made null" in build.output
    # The second row of id 1 has another duration: the first arrived counts.
    columns = "event_id, user_id, action_type, item_id, measure_spent, duration_ms"
    accepted = f"select {columns} from stg_events order by file_position"
    (derived,) = {row[0] for row in warehouse(build, accepted)} - {"01", "1", "02"}
    assert warehouse(build, accepted) == [
        ("01", "007", "view", "two\nlines", 101, 10),
        ("1", "7", "view", "a,b", -250, None),
        ("02", "007", "sale", None, None, None),
        (derived, "7", "view", "a,b", -250, 99),
    ]
    assert len(derived) == 32
    reasons = "select file_position, reason from stg_events__rejected order by file_position"
    assert warehouse(build, reasons) == [
        (6, "null_user"),
        (7, "future_timestamp"),
        (8, "bad_timestamp"),
        (9, "unknown_action"),
    ]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_numbers_break_ties_as_numbers(
    form: str, dbt_session: DbtSession, warehouse: Query, tmp_path: Path
) -> None:
    # In CSV everything is text: there 10 would come before 9.
    line = [None, 9, 10, 100, 2]
    log = pa.table({"who": ["u"] * 5, "at": [datetime(2024, 1, 1)] * 5, "line": line})
    path = tmp_path / f"log.{form}"
    if form == "csv":
        path.write_text("who,at,line\n" + "".join(f"u,2024-01-01,{n or ''}\n" for n in line))
    else:
        pq.write_table(log, path)
    variables = {
        "dataset": "ties",
        "events_path": str(path),
        "columns": {
            "user_id": "who",
            "action_type": {"sql": "'act'"},
            "event_timestamp": "at",
            "event_id": "line",
        },
        "actions": ["act"],
        "tie_order": ["line desc"],
    }
    build = dbt_session(tmp_path / "home", variables, "--select", "+int_events")
    assert build.returncode == 0, build.output
    ordered = warehouse(build, "select event_id from int_events order by event_position")
    assert [name for (name,) in ordered[:4]] == ["100", "10", "9", "2"]
    assert len(ordered) == 5


def test_the_order_of_the_rows_and_the_number_of_threads_change_nothing(
    stage: Stage, warehouse: Query, tmp_path: Path
) -> None:
    rng = random.Random(1)
    users, actions = range(9), ["view", "sale", "other"]
    rows = [
        f"u{rng.choice(users)},{rng.choice(actions)},2024-01-0{rng.randint(1, 9)}"
        for _ in range(30_000)
    ]
    variables = {
        "dataset": "shuffled",
        "events_path": str(tmp_path / "*.csv"),
        "columns": {"user_id": "who", "action_type": "what", "event_timestamp": "at"},
        "actions": ["view", "sale"],
    }
    found = []
    for threads in ("1", "4"):
        rng.shuffle(rows)
        for part in (0, 1):
            lines = ["who,what,at", *rows[part::2]]
            (tmp_path / f"{part}.csv").write_text("\n".join(lines))
        build = stage(tmp_path / "home", variables, "--threads", threads)
        assert build.returncode == 0, build.output
        events = "select * exclude (file_position) from stg_events order by all"
        found.append((build.accounting, warehouse(build, events)))
        # The place in the file is that of the row.
        query = "select list(user_id order by file_position)[:3] from base_events"
        assert warehouse(build, query) == [([row.split(",")[0] for row in rows[0:6:2]],)]
    assert found[0] == found[1]
    assert found[0][0]["raw"] == 30_000


def test_durations_that_are_no_measurement_are_null_and_their_sum_never_overflows(
    dbt_session: DbtSession, warehouse: Query, tmp_path: Path
) -> None:
    longest = 2**40
    durations = [2**63 - 1, 2**63 - 1, longest, longest + 1, longest, 2**63, -(2**63), 5]
    lines = ["who,what,at,took"]
    lines += [f"u,view,2024-01-01 10:00:{n:02},{took}" for n, took in enumerate(durations)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    names = ("user_id", "who"), ("action_type", "what"), ("event_timestamp", "at")
    dataset = {
        "dataset": "long",
        "events_path": str(tmp_path / "log.csv"),
        "columns": {**dict(names), "duration_ms": "took"},
        "actions": ["view"],
    }
    build = dbt_session(
        tmp_path / "home", dataset, "--select", "+user_activity_all", "event_accounting"
    )
    assert build.returncode == 0, build.output
    assert "1 negative durations made null" in build.output
    assert "3 durations of more than 34 years made null" in build.output
    kept = [row[0] for row in warehouse(build, "select duration_ms from stg_events order by all")]
    assert kept == [5, longest, longest, None, None, None, None, None]
    sums = build.query(
        "select duration_ms_sum_all from '{features}/user_activity_all.parquet' "
        "order by event_timestamp"
    )
    assert sums[-1] == (2 * longest + 5,)
