"""Many builds in one session of Spark, in a process of its own."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from dbt_runner import Build
from dbt_session import DbtSession


class SparkBuilds:
    """`dbt <command> --target spark`; call it like `dbt_runner.dbt`."""

    def __init__(self, folder: Path) -> None:
        assert importlib.util.find_spec("pyspark"), "no extra spark here: use make test-spark"
        assert shutil.which("java"), "no Java runtime: install default-jre-headless"
        self._session = DbtSession(folder)

    def __call__(
        self, home: Path, variables: dict[str, Any] | None, *arguments: str, **options: Any
    ) -> Build:
        """Run a command in `home`, which is made where it is missing."""
        home.mkdir(parents=True, exist_ok=True)
        return self._session(home, variables, "--target", "spark", *arguments, **options)

    def close(self) -> None:
        """End the session."""
        self._session.close()
