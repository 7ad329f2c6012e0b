"""The bundled log, as plain `dbt build` makes it, and what its manifest says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from dbt_runner import ROOT


@pytest.fixture(scope="module")
def models(shop_home: Path) -> dict[str, dict[str, Any]]:
    """The models of the manifest, by name."""
    manifest = json.loads((shop_home / "target" / "manifest.json").read_text())
    nodes = manifest["nodes"].values()
    return {node["name"]: node for node in nodes if node["resource_type"] == "model"}


def published(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Folder of each published model, by its name."""
    folders = {name: model["config"]["meta"].get("publish") for name, model in models.items()}
    return {name: folder for name, folder in folders.items() if folder}


def test_the_project_s_own_variables_are_the_dataset_file() -> None:
    project = yaml.safe_load((ROOT / "dbt_project" / "dbt_project.yml").read_text())
    shop = yaml.safe_load((ROOT / "data" / "shop.yml").read_text())
    assert project["vars"]["bundled"] == shop


def test_every_row_of_the_log_is_accounted_for(shop_home: Path) -> None:
    assert json.loads((shop_home / "reports" / "accounting.json").read_text()) == {
        "raw": 29_863,
        "accepted": 29_682,
        "duplicates": 142,
        "rejected": {
            "null_user": 12,
            "bad_timestamp": 9,
            "future_timestamp": 3,
            "unknown_action": 15,
        },
    }


def test_every_published_file_is_a_model_and_every_model_a_file(
    shop_home: Path, models: dict[str, dict[str, Any]]
) -> None:
    files = {
        file.stem: folder
        for folder in ("features", "labels")
        for file in (shop_home / folder).iterdir()
    }
    assert files == published(models)
    assert len(files) == 40


def test_a_contract_holds_every_published_file(
    shop_home: Path, models: dict[str, dict[str, Any]]
) -> None:
    for name, folder in published(models).items():
        assert models[name]["config"]["contract"]["enforced"], name
        declared = {
            column: described["data_type"].upper()
            for column, described in models[name]["columns"].items()
        }
        found = duckdb.sql(f"from '{shop_home}/{folder}/{name}.parquet'")
        assert dict(zip(found.columns, map(str, found.types), strict=True)) == declared, name


def test_every_model_states_its_grain_and_every_column_its_meaning(
    models: dict[str, dict[str, Any]],
) -> None:
    for name, model in models.items():
        assert model["description"].startswith("Grain:"), name
        for column, described in model["columns"].items():
            assert described["description"], f"{name}.{column}"
        # The SQL says it too, but for the windows, whose one macro serves every scale.
        assert "Grain:" in model["raw_code"] or model["config"]["meta"].get("scale"), name


def test_the_rows_are_sorted_and_unique(shop_home: Path, models: dict[str, dict[str, Any]]) -> None:
    for name, folder in published(models).items():
        meta = models[name]["config"]["meta"]
        keys = meta.get("keys", [f"{meta.get('entity', 'user')}_id", "event_timestamp"])
        key = f"({', '.join(keys)})"
        query = f"""
            select count(*) filter (where not coalesce({key} > before, true)) from (
                select *, lag({key}) over (order by file_row_number) as before
                from read_parquet('{shop_home}/{folder}/{name}.parquet', file_row_number = true)
            )"""
        assert duckdb.sql(query).fetchall() == [(0,)], name
