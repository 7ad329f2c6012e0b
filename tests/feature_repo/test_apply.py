"""What is refused when views are registered, before anything is asked of them."""

import os
import subprocess
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import warm_python
from feature_repo.errors import BadInput
from feature_repo.home import repository_root, view_path
from feature_repo.store import apply

GOOD = pa.table(
    {
        "user_id": ["a"],
        "event_timestamp": pa.array([datetime(2024, 1, 1)], pa.timestamp("us")),
        "n": [1],
    }
)
DATE = pa.array([datetime(2024, 1, 1)], pa.timestamp("us")).cast(pa.date32())
BAD = {
    "no file": (None, r"view v: no file .*v.parquet; build the features first"),
    "no Parquet": (b"text", r"view v: .*v.parquet cannot be read as Parquet"),
    "no feature": (GOOD.drop_columns("n"), r"view v: no column n in .*v.parquet; build again"),
    "no key": (GOOD.drop_columns("user_id"), r"view v: no column user_id in .*v.parquet"),
    "no timestamp": (GOOD.drop_columns("event_timestamp"), r"view v: no column event_timestamp"),
    "a date": (
        GOOD.set_column(1, "event_timestamp", DATE),
        r"view v: column event_timestamp in .* is DATE, not a timestamp; cast it to TIMESTAMP",
    ),
    "a type": (
        GOOD.set_column(2, "n", GOOD.column("n").cast(pa.decimal128(20, 1))),
        r"view v, column n: type DECIMAL\(20,1\) does not survive in the feature store; cast it",
    ),
}


def _put(path: Path, content: pa.Table | bytes | None) -> None:
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pq.write_table(content, path)


@pytest.mark.parametrize("case", BAD)
def test_a_published_file_that_is_not_as_declared_is_refused_by_name(publish, tmp_path, case):
    home = publish(tmp_path / "home", {"v": GOOD})
    content, message = BAD[case]
    _put(view_path(home, "v"), content)
    with pytest.raises(BadInput, match=message) as error:
        apply(home)
    assert "\n" not in str(error.value)
    assert not (home / "feast").exists()


FEAST = ("-c", "from feast.cli.cli import cli; cli()")


def _run(command: tuple[str, ...], home: Path, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"SCALESPACE_HOME": str(home)}
    return warm_python.run(*command, env=environment, cwd=cwd)


def test_both_command_lines_say_it_in_one_line_and_exit_with_2(publish, tmp_path):
    home = publish(tmp_path / "home", {"v": GOOD})
    content, _ = BAD["no feature"]
    _put(view_path(home, "v"), content)
    dataset = tmp_path / "toy.yml"
    dataset.write_text(
        "{dataset: toy, events_path: toy.csv, columns: "
        "{user_id: u, event_timestamp: t, action_type: a}, actions: [a]}"
    )
    commands = (
        (*FEAST, "-c", str(repository_root() / "feature_repo"), "apply"),
        ("-m", "trainer", "apply", "--dataset", str(dataset)),
    )
    for command in commands:
        done = _run(command, home, tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: view v: no column n in "), done.stderr
        assert done.stderr.count("\n") == 1


def test_any_repository_is_told_of_a_bad_source_by_feast_apply(tmp_path):
    pq.write_table(BAD["a date"][0], tmp_path / "v.parquet")
    (tmp_path / "feature_store.yaml").write_text(
        "project: t\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        "offline_store: {type: feature_repo.offline_store.ScalespaceOfflineStore}\n"
    )
    (tmp_path / "views.py").write_text(
        "from feast import Entity, FeatureView, Field, FileSource, ValueType\n"
        "from feast.types import Int64\n"
        "user = Entity(name='user', join_keys=['user_id'], value_type=ValueType.STRING)\n"
        "v = FeatureView(name='v', entities=[user], schema=[Field(name='n', dtype=Int64)],\n"
        "    source=FileSource(name='v', path='v.parquet', timestamp_field='event_timestamp'))\n"
    )
    done = _run((*FEAST, "apply"), tmp_path / "none", tmp_path)
    assert done.returncode != 0
    assert "view v: column event_timestamp in" in done.stdout + done.stderr
    assert "is DATE, not a timestamp; cast it to TIMESTAMP" in done.stdout + done.stderr


def test_without_a_schema_a_column_that_feast_cannot_carry_is_named(make_store, tmp_path):
    from feast import Entity, FeatureView, FileSource, ValueType

    pq.write_table(BAD["a type"][0], tmp_path / "v.parquet")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    source = FileSource(name="v", path="v.parquet", timestamp_field="event_timestamp")
    with pytest.raises(BadInput, match=BAD["a type"][1]):
        make_store(user, FeatureView(name="v", entities=[user], source=source))
