"""A copy of the dbt project whose models may go: without what tests them and what reads them."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from dbt_runner import ROOT

PROJECT = ROOT / "dbt_project"


def bare_project(folder: Path, without: Collection[str] = ()) -> Path:
    """Copy the project into a new folder, without tests, unit tests, exposures and some scales."""
    project = Path(shutil.copytree(PROJECT, folder / "dbt_project"))
    shutil.rmtree(project / "tests")
    (project / "models" / "_exposures.yml").unlink()
    for described in project.rglob("_*_unit_tests.yml"):
        described.unlink()
    for scale in without:
        for model in (project / "models" / "features").glob(f"*/*_{scale}.sql"):
            model.unlink()
    return project
