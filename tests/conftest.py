"""Shared by all tests: one whole build of the bundled log, and one dbt process for many builds."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer  # noqa: F401  before feast, which has every deprecation told, also those of others
from filelock import FileLock

from bare_project import bare_project
from dbt_runner import DBT, ROOT, Build
from dbt_session import DbtSession

gc.set_threshold(50_000, 20, 20)  # as the command `trainer` does it
# Two workers on two cores: threads of small networks would wait for each other, and spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Query = Callable[[Build, str], list[tuple[Any, ...]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The scenarios first: their files are the longest, and the last file runs alone."""
    items.sort(key=lambda item: "scenarios" not in item.path.parts)


@pytest.fixture(scope="session")
def dbt_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DbtSession]:
    """One dbt process for all tests."""
    session = DbtSession(tmp_path_factory.mktemp("dbt_session"))
    yield session
    session.close()


@pytest.fixture(scope="session")
def few_scales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the scales 1h, 30d and all: the others are the same macros once more."""
    return bare_project(tmp_path_factory.mktemp("few_scales"), without=("1d", "7d", "90d", "365d"))


@pytest.fixture
def warehouse() -> Query:
    """Query the warehouse of a finished build: the staging tables are not published."""

    def query(build: Build, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(build.home / "warehouse.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    return query


def once_for_all_workers(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that the first worker of pytest to need it makes, and the others wait for."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            make(folder)
            Path(f"{folder}.made").touch()
        assert Path(f"{folder}.made").exists(), f"another worker failed to make {folder}"
    return folder


@pytest.fixture(scope="session")
def shop_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a plain `dbt build` of the bundled log; look, but change nothing in it."""
    return once_for_all_workers(tmp_path_factory, "shop", build_shop)


def build_shop(home: Path) -> None:
    process = subprocess.run(
        [*DBT, "build", "--no-use-colors"],
        capture_output=True,
        text=True,
        env={**os.environ, "SCALESPACE_HOME": str(home)},
        cwd=ROOT / "dbt_project",
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.fixture(scope="session")
def shop_statements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a stream of the bundled log keeps its compiled statements."""
    from trainer.streaming.compiled import FOLDER, compile_statements

    def make(home: Path) -> None:
        compile_statements(str(ROOT / "data" / "shop.yml"), home)

    return once_for_all_workers(tmp_path_factory, "shop_statements", make) / FOLDER
