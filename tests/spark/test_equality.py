"""The same models on Spark: every cell that DuckDB publishes, and every verdict on a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from dbt_runner import ROOT
from dbt_session import DbtSession
from equality import cells, differences
from oracle import OracleConfig
from spark_builds import SparkBuilds
from strategies import random_log, write_log

pytestmark = pytest.mark.spark


def test_the_bundled_log_is_the_same_on_both_engines(shop_home: Path, spark_shop: Path) -> None:
    assert differences(shop_home, spark_shop) == []
    assert cells(shop_home) > 10_000_000


WIDE = OracleConfig(
    actions=[f"kind_{number}" for number in range(12)],
    action_roles={"kind_3": "search", "kind_7": "conversion"},
    horizons={"1d": 86_400_000_000},
)


@pytest.mark.parametrize(
    ("seed", "form", "timestamps", "config"),
    [(7, "csv", "offset", None), (38, "parquet", "epoch_us", None), (4, "csv", "naive", WIDE)],
    ids=["csv", "parquet", "wide"],
)
def test_a_nasty_log_is_the_same_on_both_engines(
    seed: int,
    form: str,
    timestamps: str,
    config: OracleConfig | None,
    dbt_session: DbtSession,
    spark_build: SparkBuilds,
    tmp_path: Path,
) -> None:
    rows, config = random_log(seed, config=config)
    _, variables = write_log(rows, tmp_path, config, form=form, timestamps=timestamps)
    for engine, build in (("duckdb", dbt_session), ("spark", spark_build)):
        built = build(tmp_path / engine, variables)
        assert built.returncode == 0, built.output[-4000:]
    assert differences(tmp_path / "duckdb", tmp_path / "spark") == []


# {log: one user in so many}; the others are in the slow test alone, which leaves nobody out.
REDUCED = {"code_changes": 20, "online_retail": 60}
LOGS = ["code_changes", "moodle_courses", "news_reactions", "online_retail", "purchase_cards"]


@pytest.mark.parametrize(
    ("log", "one_in"),
    [*REDUCED.items(), *(pytest.param(log, 1, marks=pytest.mark.slow) for log in LOGS)],
)
def test_a_real_log_is_the_same_on_both_engines(
    log: str, one_in: int, dbt_session: DbtSession, spark_build: SparkBuilds, tmp_path: Path
) -> None:
    file = ROOT / "data" / "logs" / f"{log}.yml"
    if not file.exists():
        pytest.skip("the real logs are not beside the repository")
    variables = yaml.safe_load(file.read_text())
    if one_in > 1:
        variables["events_path"] = str(some_users(variables, one_in, tmp_path / "some.parquet"))
    for engine, build in (("duckdb", dbt_session), ("spark", spark_build)):
        built = build(tmp_path / engine, variables)
        assert built.returncode == 0, built.output[-4000:]
    assert differences(tmp_path / "duckdb", tmp_path / "spark") == []


def some_users(variables: dict[str, Any], one_in: int, path: Path) -> Path:
    """A log of some users with all their rows, in their order, and of some rows of nobody."""
    user = f'"{variables["columns"]["user_id"]}"'
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * exclude (file_row_number) from "
            f"read_parquet('{ROOT / variables['events_path']}', file_row_number = true) "
            f"where hash(coalesce(cast({user} as varchar), cast(file_row_number as varchar))) "
            f"% {one_in} = 0) to '{path}' (format parquet)"
        )
    return path
