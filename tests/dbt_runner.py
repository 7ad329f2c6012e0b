"""Run dbt as a user does: a process of its own, on a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).resolve().parent.parent
# The script `dbt` without its search for garbage, which is a seventh of a build.
DBT = (sys.executable, "-c", "import gc; gc.disable(); from dbt.cli.main import cli; cli()")


@dataclass(frozen=True)
class Build:
    """A finished dbt process and the home it wrote."""

    home: Path
    returncode: int
    output: str

    @property
    def accounting(self) -> dict[str, Any]:
        return json.loads((self.home / "reports" / "accounting.json").read_text())

    @property
    def complaint(self) -> str:
        """The line for the user that says what is wrong with the input.

        It stands alone under an error's title; what a build only reports has the time before it.
        """
        lines = {line.strip() for line in self.output.splitlines()}
        found = [line for line in lines if line.startswith("scalespace: ")]
        assert len(found) < 2, f"more than one line: {found}"
        return found[0] if found else ""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the published files: ``{features}`` and ``{labels}`` stand for their folders."""
        text = sql.format(features=self.home / "features", labels=self.home / "labels")
        return duckdb.sql(text).fetchall()

    def rows(self, relation: str) -> list[dict[str, Any]]:
        """All rows of a published file, ``features/<view>`` or ``labels/<name>``, in its order."""
        path = self.home / f"{relation}.parquet"
        found = duckdb.sql(f"from read_parquet('{path}')")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def dbt(
    home: Path,
    variables: dict[str, Any],
    *arguments: str,
    command: str = "run",
    env: dict[str, str] | None = None,
) -> Build:
    """Run ``dbt <command>`` on a dataset's variables with ``home`` as SCALESPACE_HOME."""
    process = subprocess.run(
        [
            *(*DBT, command, "--no-use-colors"),
            *("--project-dir", str(ROOT / "dbt_project")),
            *("--profiles-dir", str(ROOT / "dbt_project")),
            *("--vars", json.dumps(variables), *arguments),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "SCALESPACE_HOME": str(home), **(env or {})},
        cwd=ROOT,
        check=False,
    )
    return Build(home, process.returncode, process.stdout + process.stderr)
