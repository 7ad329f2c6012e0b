"""A copy of the dbt project whose models may go: without what tests them and what reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

from dbt_session import PROJECT


def bare_project(folder: Path) -> Path:
    """Copy the project into a new folder, without tests, unit tests and exposures."""
    project = Path(shutil.copytree(PROJECT, folder / "dbt_project"))
    shutil.rmtree(project / "tests")
    (project / "models" / "_exposures.yml").unlink()
    for described in project.rglob("_*_unit_tests.yml"):
        described.unlink()
    return project
