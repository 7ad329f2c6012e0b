"""Shared by all tests: one whole build of the bundled log."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dbt_runner import DBT, ROOT


@pytest.fixture(scope="session")
def shop_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a plain `dbt build` of the bundled log; look, but change nothing in it."""
    home = tmp_path_factory.mktemp("shop")
    process = subprocess.run(
        [str(DBT), "build", "--no-use-colors"],
        capture_output=True,
        text=True,
        env={**os.environ, "SCALESPACE_HOME": str(home)},
        cwd=ROOT / "dbt_project",
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return home
