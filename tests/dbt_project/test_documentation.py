"""`dbt docs generate` says what every column of every model is, and who reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dbt_session import DbtSession
from oracle import OracleConfig
from strategies import random_log, write_log

# Names that depend on the dataset: two measures, a column that breaks ties, five actions.
CONFIG = OracleConfig(
    actions=["view", "ask", "like", "donate", "buy"],
    action_roles={"ask": "search", "buy": "conversion"},
    measures={"amount": 2, "score": 0},
    horizons={"1d": 86_400_000_000},
    tie_order=[("batch", False), ("file_position", False)],
)


@pytest.fixture(scope="module")
def target(dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which dbt has documented a build."""
    folder = tmp_path_factory.mktemp("documented")
    rows, _ = random_log(5, config=CONFIG)
    _, variables = write_log(rows, folder, CONFIG)
    for command in ("run", "docs generate"):
        build = dbt_session(folder / "home", variables, command=command)
        assert build.returncode == 0, build.output
    return folder / "home" / "target"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_every_column_has_a_description(target: Path) -> None:
    described = read(target / "manifest.json")["nodes"]
    tables = read(target / "catalog.json")["nodes"]
    assert len(tables) == sum(node["resource_type"] == "model" for node in described.values())
    columns = 0
    for model, table in tables.items():
        declared = {
            name.lower(): column["description"]
            for name, column in described[model]["columns"].items()
        }
        assert {name.lower() for name in table["columns"]} == set(declared), model
        for name, description in declared.items():
            assert description.endswith("."), f"{model}.{name}: {description}"
        columns += len(declared)
    assert columns > 400
    assert {"measure_amount", "tie_1"} <= set(tables["model.scalespace.stg_events"]["columns"])


def test_the_exposure_names_every_family_that_the_trainer_reads(target: Path) -> None:
    manifest = read(target / "manifest.json")
    (exposure,) = manifest["exposures"].values()
    read_by_it = {manifest["nodes"][node]["name"] for node in exposure["depends_on"]["nodes"]}
    families = {
        model["name"]: model["config"]["meta"].get("family")
        for model in manifest["nodes"].values()
        if model["resource_type"] == "model"
        and model["config"]["meta"].get("publish") == "features"
        and model["config"]["meta"]["entity"] == "user"
    }
    assert {families[name] for name in read_by_it if name in families} == set(families.values())
    assert read_by_it - set(families) == {"spine", "label_next", "events"}
