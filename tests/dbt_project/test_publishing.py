"""What is published goes into force whole, at one instant, or not at all."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from dbt_runner import Build
from dbt_session import PROJECT, DbtSession
from oracle import DAY, Event, Oracle, OracleConfig, account, differences
from parity import (
    WINDOWED,
    expected,
    feature_differences,
    label_differences,
    probe_entities,
    views,
)
from published import published_bytes
from strategies import RawLog, random_log, write_log

CLOCK = 1_767_225_600_000_000  # 2026-01-01: after every accepted event, before every reject


@dataclass(frozen=True)
class Toy:
    """A small log: its rows, its settings and its dataset file."""

    rows: RawLog
    config: OracleConfig
    variables: dict[str, Any]

    def events(self, rows: int | None = None) -> list[Event]:
        """The accepted events of the first rows."""
        return account(self.rows[:rows], self.config, CLOCK)[0]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    rows, config = random_log(8)
    _, variables = write_log(rows, tmp_path_factory.mktemp("toy"), config)
    return Toy(rows, config, variables)


@pytest.fixture(scope="module")
def first(
    toy: Toy,
    dbt_session: DbtSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    """A whole build of the small log."""
    build = dbt_session(tmp_path_factory.mktemp("first") / "home", toy.variables)
    assert build.returncode == 0, build.output
    return build


@pytest.fixture
def home(first: Build, tmp_path: Path) -> Path:
    """A home that has the whole build in force."""
    return Path(shutil.copytree(first.home, tmp_path / "home", symlinks=True))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project to change."""
    return Path(shutil.copytree(PROJECT, tmp_path / "repository" / "dbt_project"))


def changed(before: dict[str, bytes], home: Path) -> set[str]:
    """Names of the published files that came, went or are others than before."""
    after = published_bytes(home)
    return {name for name in before | after if before.get(name) != after.get(name)}


def test_a_failed_build_publishes_nothing(
    toy: Toy, home: Path, project: Path, dbt_session: DbtSession
) -> None:
    before = published_bytes(home)
    activity = project / "models" / "features" / "user_activity" / "user_activity_365d.sql"
    activity.write_text(f"select * from ({activity.read_text()}) where event_count_365d > 1")
    select = ("--select", "user_activity_365d", "user_recency")

    failing = project / "tests" / "assert_what_is_not_so.sql"
    failing.write_text("select * from {{ ref('user_recency') }}")
    build = dbt_session(home, toy.variables, *select, command="build", project=project)
    assert build.returncode == 1
    assert "nothing was published" in build.output
    assert changed(before, home) == set()
    # It was built, and lies beside the one in force.
    assert len(list((home / ".built" / "features").glob("user_activity_365d.*.parquet"))) == 2
    failing.unlink()

    recency = project / "models" / "features" / "user_recency.sql"
    working = recency.read_text()
    recency.write_text(working.replace("select\n    user_id,", "select\n    error('no') as x,", 1))
    build = dbt_session(home, toy.variables, *select, project=project)
    assert build.returncode == 1
    assert changed(before, home) == set()
    recency.write_text(working)

    # What the failed builds had made of user_activity_365d is not published by the next good one.
    build = dbt_session(home, toy.variables, "--select", "user_recency", project=project)
    assert build.returncode == 0, build.output
    assert changed(before, home) == set()

    build = dbt_session(home, toy.variables, *select, project=project)
    assert build.returncode == 0, build.output
    assert changed(before, home) == {"features/user_activity_365d.parquet"}


def test_an_update_whose_rows_are_not_its_own_publishes_nothing(
    toy: Toy, home: Path, project: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    """Two rows of one key, or one before what was touched, where a whole build has neither."""
    model = project / "models" / "features" / "user_activity" / "user_activity_365d.sql"
    rows = model.read_text()
    added = {
        "twice": "select * from rows",
        "before": """select * replace (timestamp '1971-01-01' as event_timestamp)
            from (select distinct on (user_id) * from rows)""",
    }
    cases = [
        f"{{% if is_update() and var('added', '') == '{name}' %}} union all {sql} {{% endif %}}"
        for name, sql in added.items()
    ]
    model.write_text(f"with rows as ({rows}) select * from rows {' '.join(cases)}")
    select = ("--select", "+user_activity_365d")
    build = dbt_session(home, toy.variables, *select, project=project)
    assert build.returncode == 0, build.output
    before = published_bytes(home)

    _, fewer = write_log(toy.rows[:-20], tmp_path / "fewer", toy.config)
    for name, said in (
        ("twice", "user_activity_365d is not unique by (user_id, event_timestamp)"),
        ("before", "rows of an update lie before what was touched"),
    ):
        build = dbt_session(home, {**fewer, "added": name}, *select, project=project)
        assert build.returncode != 0
        assert said in build.output
        assert changed(before, home) == set()
    build = dbt_session(home, fewer, *select, project=project)
    assert build.returncode == 0, build.output
    assert changed(before, home) == {"features/user_activity_365d.parquet"}


def test_selected_models_are_published_beside_the_others(
    toy: Toy, home: Path, project: Path, dbt_session: DbtSession
) -> None:
    before = published_bytes(home)
    described = manifest_columns(home)
    model = project / "models" / "features" / "user_activity" / "user_activity_7d.sql"
    model.write_text(model.read_text() + "\nwhere user_id > '7'\n")
    build = dbt_session(home, toy.variables, "--select", "user_activity_7d+", project=project)
    assert build.returncode == 0, build.output
    assert "1 of 40 views are new" in build.output
    assert changed(before, home) == {"features/user_activity_7d.parquet"}
    # The views that were kept are described as before, though dbt writes the manifest anew.
    assert manifest_columns(home) == described
    assert len(described["user_activity_90d"]) > 10


@pytest.fixture(scope="module")
def fortnight(
    toy: Toy, first: Build, dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """The first build, then one file added to each family, ``<family>_14d``, and one removed."""
    folder = tmp_path_factory.mktemp("fortnight")
    home = Path(shutil.copytree(first.home, folder / "home", symlinks=True))
    project = Path(shutil.copytree(PROJECT, folder / "repository" / "dbt_project"))
    for family in WINDOWED:
        models = project / "models" / "features" / family
        (models / f"{family}_90d.sql").unlink()
        (models / f"{family}_14d.sql").write_text(f"{{{{ {family}('14d') }}}}\n")
    # The exposure names what the trainer reads: a scale that goes takes its line with it.
    exposures = project / "models" / "_exposures.yml"
    lines = exposures.read_text().splitlines(keepends=True)
    exposures.write_text("".join(line for line in lines if "_90d" not in line))
    select = ("--select", *(f"{family}_14d" for family in WINDOWED))
    build = dbt_session(home, toy.variables, *select, project=project)
    assert build.returncode == 0, build.output
    return build


def test_a_scale_comes_and_goes_with_its_file(toy: Toy, first: Build, fortnight: Build) -> None:
    assert changed(published_bytes(first.home), fortnight.home) == {
        f"features/{family}_{scale}.parquet" for family in WINDOWED for scale in ("14d", "90d")
    }
    assert "features/user_activity_90d.parquet" not in published_bytes(fortnight.home)

    two_weeks = replace(toy.config, scales={"14d": 14 * DAY})
    cells, found = feature_differences(fortnight, toy.events(), two_weeks, random.Random(1))
    assert found == []
    assert cells > 4_000
    published = duckdb.sql(f"from '{fortnight.home}/features/user_activity_14d.parquet'")
    assert manifest_columns(fortnight.home)["user_activity_14d"] == dict(
        zip(published.columns, map(str, published.types), strict=True)
    )


def test_feast_and_the_trainer_follow_a_scale(toy: Toy, fortnight: Build) -> None:
    """One file is enough: its views are registered, answer with the oracle's values, and enter."""
    from feature_repo.store import apply
    from trainer.config import FeatureConfig
    from trainer.features import choose_features, features_at, published_features
    from trainer.inputs import FeatureEncoder

    store = apply(fortnight.home)
    members = {
        service.name: {projection.name for projection in service.feature_view_projections}
        for service in store.list_feature_services()
    }
    for family, (entity, *_) in WINDOWED.items():
        view = store.get_feature_view(f"{family}_14d")
        assert view.tags == {"family": family, "scale": "14d"}
        assert f"{family}_14d" in members[f"{entity}_scale_14d"] & members[f"family_{family}"]
        assert f"{family}_14d" in members[f"{entity}_features"]
        assert f"{family}_90d" not in members[f"{entity}_features"]

    # Through Feast, for every kind of entity, at instants at which its values change and between.
    config = replace(toy.config, scales={"14d": 14 * DAY})
    oracle = Oracle(toy.events(), config)
    probes = probe_entities(oracle, config, random.Random(2), per_user=20)
    for family, (entity, *_) in WINDOWED.items():
        asked = probes[entity]
        frame = pd.DataFrame(asked, columns=[f"{entity}_id", "t"])
        frame["event_timestamp"] = pd.to_datetime(frame.pop("t"), unit="us")
        view = store.get_feature_view(f"{family}_14d")
        references = [f"{view.name}:{feature.name}" for feature in view.features]
        table = store.get_historical_features(frame, references).to_arrow()
        rows = table.select([feature.name for feature in view.features]).to_pylist()
        for (key, t), row in zip(asked, rows, strict=True):
            assert differences(expected(oracle, family, "14d", key, t), row) == [], (family, key, t)

    # The trainer takes what describes a user without being told.
    published = published_features(fortnight.home)
    chosen = [f for f in choose_features(published, FeatureConfig(exclude=[])) if f.scale == "14d"]
    assert {feature.family for feature in chosen} == {
        family for family, (entity, *_) in WINDOWED.items() if entity == "user"
    }
    by_default = choose_features(published, FeatureConfig())
    assert "event_count_14d" in [feature.name for feature in by_default]
    users, instants = zip(*probes["user"], strict=True)
    at = np.array(instants, dtype="datetime64[us]")
    table = features_at(store, np.array(users, dtype=object), at, chosen)
    encoder = FeatureEncoder.fit(table, {f.name: f.type for f in chosen}, at)
    inputs = [name for name in encoder.columns if "_14d" in name]
    assert {"event_count_14d", "transition_total_14d", "hour_histogram_14d[23]"} <= set(inputs)
    assert encoder.transform(table, at)[:, encoder.columns.index("event_count_14d")].std() > 0


def manifest_columns(home: Path) -> dict[str, dict[str, str]]:
    """Columns and types that the manifest gives each published model."""
    nodes = json.loads((home / "target" / "manifest.json").read_text())["nodes"].values()
    return {
        node["name"]: {
            name: column["data_type"].upper() for name, column in node["columns"].items()
        }
        for node in nodes
        if node["config"].get("meta", {}).get("publish")
    }


def test_an_empty_run_publishes_nothing(toy: Toy, home: Path, dbt_session: DbtSession) -> None:
    before = published_bytes(home)
    select = ("--select", "+user_activity_1h", "event_accounting")
    build = dbt_session(home, toy.variables, *select, "--empty")
    assert build.returncode == 0, build.output
    assert changed(before, home) == set()
    # And the next run does not remember it.
    build = dbt_session(home, toy.variables, *select)
    assert build.returncode == 0, build.output
    assert "1 of 40 views are new" in build.output
    assert changed(before, home) == set()


def test_an_empty_log_publishes_no_rows(toy: Toy, dbt_session: DbtSession, tmp_path: Path) -> None:
    header = Path(toy.variables["events_path"]).read_text().splitlines()[0]
    (tmp_path / "log.csv").write_text(header + "\n")
    variables = {**toy.variables, "events_path": str(tmp_path / "log.csv")}
    build = dbt_session(tmp_path / "home", variables)
    assert build.returncode == 0, build.output
    assert build.accounting == {"raw": 0, "accepted": 0, "duplicates": 0, "rejected": {}}
    files = sorted((build.home / "features").iterdir()) + sorted((build.home / "labels").iterdir())
    # Beside the views that the oracle knows: user_pattern, and four tables of labels.
    assert len(files) == len(views(toy.config)) + 1 + 4
    assert all(duckdb.sql(f"from '{file}'").fetchall() == [] for file in files)


def test_a_log_of_one_row(dbt_session: DbtSession, tmp_path: Path) -> None:
    rows, config = random_log(8, events=1, users=1, dirty=False)
    _, variables = write_log(rows[:1], tmp_path, config)
    build = dbt_session(tmp_path / "home", variables)
    assert build.returncode == 0, build.output
    assert build.accounting == {"raw": 1, "accepted": 1, "duplicates": 0, "rejected": {}}
    events, _, _ = account(rows[:1], config, CLOCK)
    assert feature_differences(build, events, config, random.Random(1))[1] == []
    assert label_differences(build, events, config) == []


def test_the_same_bytes_again_and_with_any_number_of_threads(
    project: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    # Enough rows for several row groups, and whole minutes, so that events tie.
    path = tmp_path / "log.parquet"
    duckdb.sql(
        f"""copy (
            select
                'u' || (hash(i) % 400) as who,
                'action_' || (hash(i, 1) % 3) as what,
                timestamp '2024-01-01' + to_minutes(cast(hash(i, 2) % 200000 as bigint)) as at,
                'i' || (hash(i, 3) % 50) as thing
            from range(65000) as t (i)
        ) to '{path}'"""
    )
    columns = {"user_id": "who", "action_type": "what", "event_timestamp": "at", "item_id": "thing"}
    variables = {
        "dataset": "large",
        "events_path": str(path),
        "columns": columns,
        "actions": ["action_0", "action_1", "action_2"],
    }
    profile = (project / "profiles.yml").read_text()
    found = []
    for threads in (1, 4):
        settings = f"config_options:\n        threads: {threads}\n"
        (project / "profiles.yml").write_text(profile.replace("config_options:\n", settings))
        select = ("--select", "+user_activity_7d", "+label_next", "+events")
        arguments = (*select, "--threads", str(threads))
        build = dbt_session(tmp_path / "home", variables, *arguments, project=project)
        assert build.returncode == 0, build.output
        found.append(published_bytes(build.home))
    assert len(found[0]) == 4
    assert found[0] == found[1]
    groups = f"select count(distinct row_group_id) from parquet_metadata('{build.home}/features/*')"
    assert duckdb.sql(groups).fetchall()[0][0] > 1


def test_a_reader_sees_one_build_at_a_time(
    toy: Toy,
    home: Path,
    dbt_session: DbtSession,
    tmp_path: Path,
) -> None:
    rows = len(toy.rows) // 2
    _, half = write_log(toy.rows[:rows], tmp_path, toy.config)
    select = ("--select", "+user_recency", "+user_sequence", "+events")

    def read(features: Path) -> tuple[int, ...]:
        """Numbers that no two builds share: event instants, twice, and events."""
        views = (features / "user_recency", features / "user_sequence")
        files = [*views, features.parent / "labels" / "events"]
        counts = [duckdb.sql(f"select count(*) from '{file}.parquet'") for file in files]
        return tuple(count.fetchall()[0][0] for count in counts)

    whole = read(home / "features")
    assert whole[2] == len(toy.events())
    builds: list[Build] = []

    def build_twice() -> None:
        builds.extend(dbt_session(home, log, *select) for log in (half, toy.variables))

    builder = threading.Thread(target=build_twice)
    builder.start()
    seen = []
    while builder.is_alive():
        # Without resolving, every file is there and whole, though it may belong to the next build.
        assert read(home / "features")
        seen.append(read(Path(os.path.realpath(home / "features"))))
    builder.join()
    assert [build.returncode for build in builds] == [0, 0]
    # Three in a row, and nothing between them.
    in_turn = [numbers for numbers, _ in itertools.groupby(seen)]
    assert [events for *_, events in in_turn] == [whole[2], len(toy.events(rows)), whole[2]]
    assert all(instants == again for instants, again, _ in in_turn)


@pytest.fixture
def publishing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that publishes, as dbt loads it."""
    monkeypatch.syspath_prepend(str(PROJECT / "plugins"))
    import scalespace_publishing

    yield scalespace_publishing
    del sys.modules["scalespace_publishing"]


class Killed(BaseException):
    """What no handler of an ordinary error stops, as a signal would be."""


READ_AT = "2026-01-01T00:00:00+00:00"

# The steps of a publication that change something on disk.
STEPS = [(os, "replace"), (os, "link"), (Path, "unlink"), (Path, "mkdir"), (Path, "symlink_to")]


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_build_that_is_killed_leaves_the_old_or_the_new(
    owner: Any, name: str, publishing: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = publishing.prepare(str(tmp_path / "warehouse.duckdb"))
    views = []

    def build(text: str) -> None:
        publishing.sweep(home, "[]")
        views[:] = [
            [folder, view, f"{home}/.built/{folder}/{view}.{text}.parquet"]
            for folder, view in (("features", "a"), ("features", "b"), ("labels", "c"))
        ]
        for _, _, file in views:
            Path(file).write_text(text)

    def in_force() -> set[str]:
        features = Path(os.path.realpath(tmp_path / "features"))
        labels = features.parent / "labels"
        files = [features / "a.parquet", features / "b.parquet", labels / "c.parquet"]
        return {file.read_text() for file in files}

    def publish_and_die_at(call: int) -> None:
        step, calls = getattr(owner, name), iter(range(call))

        def step_or_die(*args: Any, **kwargs: Any) -> Any:
            if next(calls, None) is None:
                raise Killed
            return step(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, step_or_die)
            publishing.publish(home, json.dumps(views), READ_AT)

    build("first")
    publishing.publish(home, json.dumps(views), READ_AT)
    for call in range(20):
        (before,) = in_force()
        build(f"new {call}")
        try:
            publish_and_die_at(call)
        except Killed:
            assert in_force() in ({before}, {f"new {call}"})
        else:
            break
        build(f"next {call}")
        publishing.publish(home, json.dumps(views), READ_AT)
        assert in_force() == {f"next {call}"}
    assert call > 0
    # Nothing piles up: the link, two snapshots, and one that was not finished.
    assert len(list((tmp_path / ".published").iterdir())) <= 4


def test_a_build_that_did_not_read_the_log_knows_what_the_one_before_knew(
    publishing: Any, tmp_path: Path
) -> None:
    home = publishing.prepare(str(tmp_path / "warehouse.duckdb"))

    def publish(log_read_at: str) -> str:
        file = Path(home, ".built", "features", "a.parquet")
        file.write_text("rows")
        publishing.publish(home, json.dumps([["features", "a", str(file)]]), log_read_at)
        noted = json.loads(
            (tmp_path / "features").resolve().parent.joinpath("build.json").read_text()
        )
        return noted["log_read_at"]

    later = "2026-01-02T00:00:00+00:00"
    assert [publish(at) for at in (READ_AT, "", later, "")] == [READ_AT, READ_AT, later, later]
