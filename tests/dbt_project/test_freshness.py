"""`dbt source freshness` on the dataset's log, in whatever form and columns it has."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt_runner import Build
from dbt_session import DbtSession

NOW = datetime.now(UTC).replace(microsecond=0)
DATASET: dict[str, Any] = {
    "dataset": "toy",
    "columns": {"user_id": "who", "action_type": "what", "event_timestamp": "at"},
    "actions": ["view"],
}


@pytest.fixture
def freshness(dbt_session: DbtSession, staging_project: Path, tmp_path: Path) -> Any:
    """Ask for the freshness of a log; the answers of dbt's sources.json."""

    def ask(log: Path, **settings: Any) -> tuple[Build, list[dict[str, Any]]]:
        build = dbt_session(
            tmp_path / "home",
            {**DATASET, "events_path": str(log), **settings},
            command="source freshness",
            project=staging_project,
        )
        results = json.loads((build.home / "target" / "sources.json").read_text())["results"]
        return build, results

    return ask


@pytest.mark.parametrize(
    ("thresholds", "status", "code"),
    [
        ({"warn_after": "4h", "error_after": "1d"}, "pass", 0),
        ({"warn_after": "90m", "error_after": "1w"}, "warn", 0),
        ({"warn_after": "1h", "error_after": "2h"}, "error", 1),
        ({"error_after": "2h"}, "error", 1),
    ],
)
def test_a_log_is_as_old_as_its_last_arrival(
    thresholds: dict[str, str], status: str, code: int, freshness: Any, tmp_path: Path
) -> None:
    # Epoch milliseconds, the last of which arrived three hours ago, and one row of the year 2099.
    ago = [int((NOW - timedelta(hours=hours)).timestamp() * 1000) for hours in (50, 5, 3)]
    log = tmp_path / "log.csv"
    log.write_text(
        "who;what;at;arrived\n"
        f"u;view;{ago[0]};{ago[2]}\n"
        f"u;view;{ago[1]};{ago[1]}\n"
        "u;view;4070908800000;4070908800000\n"
        "u;view;never;\n"
    )
    build, results = freshness(
        log,
        columns={**DATASET["columns"], "ingested_at": "arrived"},
        csv={"delimiter": ";"},
        timestamp_unit="ms",
        freshness=thresholds,
    )
    assert build.returncode == code, build.output
    assert [result["status"] for result in results] == [status]
    assert datetime.fromisoformat(results[0]["max_loaded_at"]) == NOW - timedelta(hours=3)


def test_without_arrivals_the_last_event_says_it(freshness: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    local = (NOW - timedelta(days=2)).replace(tzinfo=None)
    duckdb.sql(f"copy (select 'u' as who, 'view' as what, timestamp '{local}' as at) to '{log}'")
    _, results = freshness(log, freshness={"warn_after": "1d", "error_after": "3d"})
    assert [result["status"] for result in results] == ["warn"]
    assert datetime.fromisoformat(results[0]["max_loaded_at"]) == NOW - timedelta(days=2)


def test_a_log_without_rows_is_stale(freshness: Any, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,what,at\n")
    _, results = freshness(tmp_path / "log.csv", freshness={"error_after": "52w"})
    assert [result["status"] for result in results] == ["error"]


def test_it_is_off_where_the_dataset_says_nothing(freshness: Any, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,what,at\nu,view,2001-01-01\n")
    build, results = freshness(tmp_path / "log.csv")
    assert build.returncode == 0, build.output
    assert results == []
