"""One session of Spark for all builds: its start costs more than a small build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_builds import SparkBuilds


@pytest.fixture(scope="session")
def spark_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkBuilds]:
    """Builds by Spark."""
    builds = SparkBuilds(tmp_path_factory.mktemp("spark_session"))
    yield builds
    builds.close()


@pytest.fixture(scope="session")
def spark_shop(spark_build: SparkBuilds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a plain `dbt build --target spark` of the bundled log."""
    home = tmp_path_factory.mktemp("spark_shop")
    build = spark_build(home, None, command="build")
    assert build.returncode == 0, build.output[-4000:]
    return home
