"""Shared by the tests of the dbt project: a project of staging alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbt_runner import Build
from dbt_session import PROJECT, DbtSession

Stage = Callable[..., Build]


@pytest.fixture(scope="session")
def staging_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without the models after staging: dbt parses it in half the time."""
    folder = tmp_path_factory.mktemp("staging_project")
    for part in ("dbt_project.yml", "profiles.yml", "macros", "plugins"):
        (folder / part).symlink_to(PROJECT / part)
    shutil.copytree(PROJECT / "models" / "staging", folder / "models" / "staging")
    shutil.copy(PROJECT / "models" / "_groups.yml", folder / "models")
    return folder


@pytest.fixture(scope="session")
def stage(dbt_session: DbtSession, staging_project: Path) -> Stage:
    """Run the staging models alone, on a home of their own."""

    def run(
        home: Path, variables: dict[str, Any], *arguments: str, env: dict[str, str] | None = None
    ) -> Build:
        return dbt_session(home, variables, *arguments, project=staging_project, env=env)

    return run
