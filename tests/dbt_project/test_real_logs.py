"""The real logs beside the repository: every row accounted for, every value the oracle's."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from dbt_runner import ROOT, Build
from dbt_session import DbtSession
from oracle import DAY, MINUTE, Oracle, OracleConfig, account, differences, micros
from parity import StepFunction, expected
from strategies import probe_instants

LOGS = ROOT / "data" / "logs"
ACCOUNTING: dict[str, dict[str, Any]] = {
    "code_changes": {"raw": 139_103, "accepted": 139_103, "duplicates": 0, "rejected": {}},
    "moodle_courses": {
        "raw": 64_422,
        "accepted": 44_823,
        "duplicates": 13_474,
        "rejected": {"bad_timestamp": 2, "null_user": 6_123},
    },
    "news_reactions": {"raw": 35_854, "accepted": 35_681, "duplicates": 173, "rejected": {}},
    "online_retail": {
        "raw": 541_909,
        "accepted": 401_604,
        "duplicates": 5_268,
        "rejected": {"null_user": 135_037},
    },
    "purchase_cards": {
        "raw": 185_909,
        "accepted": 180_650,
        "duplicates": 5_258,
        "rejected": {"null_user": 1},
    },
}


def dataset(name: str) -> dict[str, Any]:
    if not (LOGS / f"{name}.parquet").exists():
        pytest.skip(f"{LOGS / name}.parquet is not there: the real logs lie outside the repository")
    return yaml.safe_load((ROOT / "data" / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in ACCOUNTING if name != "moodle_courses"])
def test_every_row_is_accounted_for(name: str, stage: Callable[..., Build], tmp_path: Path) -> None:
    build = stage(tmp_path / "home", dataset(name), "--select", "+event_accounting")
    assert build.returncode == 0, build.output
    assert build.accounting == ACCOUNTING[name]


def test_the_values_of_a_learning_platform_are_the_oracles(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    variables = dataset("moodle_courses")
    select = ("+user_activity_7d", "+user_transitions_all", "+user_session", "event_accounting")
    build = dbt_session(tmp_path / "home", variables, "--select", *select)
    assert build.returncode == 0, build.output
    assert build.accounting == ACCOUNTING["moodle_courses"]

    config = OracleConfig(
        actions=variables["actions"],
        action_roles=variables["action_roles"],
        session_gap_us=variables["session_gap_minutes"] * MINUTE,
        scales={"7d": 7 * DAY, "all": None},
        unknown_actions=variables["unknown_actions"],
        tie_order=[("file_position", True)],
        action_map=variables["action_map"],
    )
    rng = random.Random(1)
    events = account(some_users_rows(variables, rng), config, 2**60)[0]
    oracle = Oracle(events, config)
    probes = probe_instants(events, config, rng, per_user=10)
    assert len(probes) >= 50
    for view, family, scale in (
        ("user_activity_7d", "user_activity", "7d"),
        ("user_transitions_all", "user_transitions", "all"),
        ("user_session", "user_session", None),
    ):
        published = StepFunction(build.rows(f"features/{view}"))
        for user, t in probes:
            row = expected(oracle, family, scale, user, t)
            assert differences(row, published.at(user, t)) == [], f"{view} of {user} at {t}"


def some_users_rows(variables: dict[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    """The raw rows of six users, in file order, as the oracle takes them."""
    names = {raw: name for name, raw in variables["columns"].items()}
    rows = pq.read_table(ROOT / variables["events_path"]).rename_columns(names).to_pylist()
    users = set(rng.sample(sorted({row["user_id"] for row in rows if row["user_id"]}), k=6))
    found = [row for row in rows if row["user_id"] in users]
    for row in found:
        time = row["event_timestamp"]
        row["event_timestamp"] = None if time is None else micros(time)
    assert len(found) > 300
    return found
