"""Feast's own command line on the repository, as anyone would call it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from feature_repo.home import repository_root

FEAST = Path(sys.executable).with_name("feast")


def _feast(*arguments: str, root: Path, cwd: Path, home: str = "") -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(root), "SCALESPACE_HOME": home}
    return subprocess.run(
        [FEAST, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def views() -> dict[str, pa.Table]:
    columns = {"user_id": ["a"], "event_timestamp": pa.array([0], pa.timestamp("us"))}
    return {
        "user_activity_7d": pa.table(columns | {"event_count_7d": [1]}),
        "user_session": pa.table(columns | {"session_ordinal": [1]}),
    }


def test_from_anywhere_with_the_default_home_in_a_path_with_a_space(publish, views, tmp_path):
    root = tmp_path / "a clone"
    shutil.copytree(repository_root() / "feature_repo", root / "feature_repo")
    home = publish(root / "data" / "build" / "shop", views)
    applied = _feast("-c", str(root / "feature_repo"), "apply", root=root, cwd=tmp_path)
    assert applied.returncode == 0, applied.stderr
    assert "WARNING" not in applied.stderr
    listed = _feast("feature-views", "list", root=root, cwd=root / "feature_repo")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert sorted(names) == ["NAME", "user_activity_7d", "user_session"]
    assert sorted(path.name for path in (home / "feast").iterdir()) == [
        "online_store.db",
        "registry.db",
    ]
    # Nothing but the home is written: Feast's defaults lie in the repository.
    assert sorted(path.name for path in root.iterdir()) == ["data", "feature_repo"]
    assert not (root / "feature_repo" / "data").exists()


def test_before_a_build_it_is_one_line_and_exit_code_2(tmp_path):
    root = repository_root()
    repository = str(root / "feature_repo")
    applied = _feast("-c", repository, "apply", root=root, cwd=tmp_path, home="my home")
    assert applied.returncode == 2
    # A relative home is relative to where the command started, whatever Feast changes to later.
    assert applied.stderr.startswith(f"error: no dbt build found at {tmp_path / 'my home'}: run")
    assert applied.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
