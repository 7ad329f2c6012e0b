"""Patterns of users: found where planted, in the training part alone, and given by distance."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from dbt_runner import Build
from dbt_session import PROJECT, DbtSession
from oracle import Oracle, account, micros
from published import published_bytes
from strategies import random_log, write_log
from trainer.instants import parse_instant
from trainer.splits import TRAIN_SHARE, quantile_cut

SELECT = ("--select", "+user_pattern")
START = datetime(2024, 1, 1)


@pytest.fixture(scope="module")
def patterns_model() -> ModuleType:
    """The Python model, as a module."""
    path = PROJECT / "models" / "intermediate" / "int_patterns.py"
    spec = importlib.util.spec_from_file_location("int_patterns", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project(staging_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What user_pattern is made of, without the other views: dbt parses it in half the time."""
    folder = tmp_path_factory.mktemp("pattern_project") / "dbt_project"
    shutil.copytree(staging_project, folder, symlinks=True)
    models, no_tests = PROJECT / "models", shutil.ignore_patterns("*.yml")
    shutil.copytree(models / "intermediate", folder / "models" / "intermediate", ignore=no_tests)
    features = folder / "models" / "features"
    shutil.copytree(models / "features" / "user_pattern", features, ignore=no_tests)
    shutil.copy(models / "features" / "user_activity" / "user_activity_30d.sql", features)
    return folder


def fitted(build: Build) -> list[tuple[Any, ...]]:
    """All that was fitted, in order; floats as they are, bit by bit."""
    with duckdb.connect(str(build.home / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute("from int_patterns order by pattern").fetchall()


def values(build: Build) -> list[dict[str, Any]]:
    """The published patterns but for when they were computed."""
    rows = build.rows("features/user_pattern")
    return [{name: row[name] for name in row if name != "computed_at"} for row in rows]


# Fitting ------------------------------------------------------------------------------------------


def blobs(patterns: int) -> pa.Table:
    """``patterns`` far groups on a line of one feature, of 10, 20, 30 ... rows each."""
    rng = np.random.default_rng(1)
    places = np.concatenate([np.full(10 * (p + 1), 100.0 * p) for p in range(patterns)])
    spread = rng.normal(size=len(places))
    order = rng.permutation(len(places))
    return pa.table({"place": (places + spread)[order], "same": np.ones(len(places))})


def test_planted_groups_are_found_the_largest_first(patterns_model: ModuleType) -> None:
    sample = blobs(6)
    found = patterns_model.fit(sample).to_pydict()
    assert found["pattern"] == [1, 2, 3, 4, 5, 6]
    assert found["row_count"] == [60, 50, 40, 30, 20, 10]
    mean, scale = found["means"][0], found["scales"][0]
    assert scale[1] == 0.0  # what is the same for all
    back = [center[0] / scale[0] + mean[0] for center in found["center"]]
    assert back == pytest.approx([500, 400, 300, 200, 100, 0], abs=1.5)


def test_a_label_says_what_is_far_from_the_mean(patterns_model: ModuleType) -> None:
    names = ["a", "b", "c"]
    centers = np.array([[2.0, -1.0, 0.0], [0.4, 0.1, -0.4], [-0.6, 0.0, 3.0]])
    assert patterns_model.label(centers, names) == ["high a, low b", "average", "high c, low a"]
    # Two words do not tell these two apart, three do.
    centers = np.array([[2.0, -1.0, 0.7], [2.0, -3.0, -0.7]])
    assert patterns_model.label(centers, names) == ["high a, low b, high c", "low b, high a, low c"]
    centers = np.array([[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    assert patterns_model.label(centers, names) == ["high a (1)", "high a (2)"]


def test_fewer_rows_than_patterns_and_what_is_unknown(patterns_model: ModuleType) -> None:
    sample = pa.table({"x": [1.0, None, 1.0, 5.0], "unknown": pa.nulls(4, pa.float64())})
    found = patterns_model.fit(sample).to_pydict()
    # The null stands at the mean, so there are three different places.
    assert found["row_count"] == [2, 1, 1]
    assert found["scales"][0][1] == 0.0
    assert patterns_model.fit(sample.slice(0, 0)).num_rows == 0
    # Nor do two rows that differ in the last digits make two patterns.
    sample = pa.table({"x": [1.0, 1.0 + 1e-12, 5.0]})
    assert patterns_model.fit(sample).to_pydict()["row_count"] == [2, 1]


class _Dbt:
    """What dbt shows the model, of a database in memory."""

    class This:
        schema, identifier = "main", "int_patterns"

        def __repr__(self) -> str:
            return "main.int_patterns"

    this = This()

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        self.ref = session.table

    def config(self, **_: Any) -> None:
        pass


def test_a_fit_is_kept_as_long_as_nothing_that_decides_it_changes(
    patterns_model: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, fits, clusters = duckdb.connect(), [], patterns_model.clusters

    def count(points: np.ndarray) -> Any:
        fits.append(len(points))
        return clusters(points)

    monkeypatch.setattr(patterns_model, "clusters", count)

    def build(sample: pa.Table) -> dict[str, list[Any]]:
        session.register("sample", sample)
        session.execute(
            "create or replace table int_pattern_sample as select 'u' || row_number() over () "
            "as user_id, timestamp '2024-01-01' as event_timestamp, * from sample"
        )
        session.register("found", patterns_model.model(_Dbt(session), session))
        session.execute("create or replace table int_patterns as from found")
        return session.table("int_patterns").order("pattern").to_arrow_table().to_pydict()

    first = build(blobs(3))
    assert build(blobs(3)) == first
    assert fits == [60]
    changed = blobs(3).to_pydict()
    changed["place"][7] += 1e-9
    other = build(pa.table(changed))
    assert len(fits) == 2
    assert other["fitted_on"] != first["fitted_on"]
    assert other["means"] != first["means"]
    # A column by another name, other libraries, a table of before fits were kept, no table.
    build(pa.table(changed).rename_columns(["where", "same"]))
    assert len(fits) == 3
    monkeypatch.setattr(patterns_model, "version", lambda _: "another")
    build(blobs(3))
    assert len(fits) == 4
    for begin_with in ("alter table int_patterns drop column fitted_on", "drop table int_patterns"):
        session.execute(begin_with)
        build(blobs(3))
    assert len(fits) == 6


# Whole builds -------------------------------------------------------------------------------------

KINDS = {
    # Share of `buy`, minutes between events, events a day, items.
    "looker": (0.0, 1, 12, 6),
    "buyer": (0.7, 15, 4, 2),
    "visitor": (0.1, 200, 2, 1),
}
DAYS = 45


def planted(tail: str) -> list[tuple[str, str, datetime, str]]:
    """Three kinds of users for 45 days, of which the last 15 depend on ``tail``."""
    rng = random.Random(3)
    rows = []
    for kind, (buys, minutes, events, items) in KINDS.items():
        for number in range(6):
            user, own = f"{kind}_{number}", random.Random(f"{kind} {number}")
            for day in range(DAYS):
                at = START + timedelta(days=day, hours=8, seconds=own.randrange(3600))
                for _ in range(events):
                    action = "buy" if own.random() < buys else "look"
                    item = f"i{own.randrange(items)}"
                    late = day >= 30
                    if late and tail == "scrambled":
                        action, item = rng.choice(["buy", "look"]), f"i{rng.randrange(99)}"
                    if not late or tail != "none":
                        rows.append((user, action, at, item))
                    at += timedelta(minutes=minutes * own.uniform(0.8, 1.2))
    return rows


def dataset(path: Path, rows: list[tuple[str, str, datetime, str]], **settings: Any) -> dict:
    path.mkdir(exist_ok=True)
    table = pa.table(
        dict(zip(("who", "what", "at", "thing"), map(list, zip(*rows, strict=True)), strict=True))
    )
    duckdb.from_arrow(table).write_parquet(str(path / "log.parquet"))
    return {
        "dataset": "planted",
        "events_path": str(path / "log.parquet"),
        "columns": {
            "user_id": "who",
            "action_type": "what",
            "event_timestamp": "at",
            "item_id": "thing",
        },
        "actions": ["look", "buy"],
        "action_roles": {"buy": "conversion"},
        "split": {"train_end": "2024-01-31", "valid_end": "2024-02-07"},
        **settings,
    }


def test_planted_kinds_of_users_do_not_share_a_pattern(
    dbt_session: DbtSession, project: Path, tmp_path: Path
) -> None:
    build = dbt_session(
        tmp_path / "home",
        dataset(tmp_path / "log", planted("as they were")),
        *SELECT,
        project=project,
    )
    assert build.returncode == 0, build.output
    kinds = defaultdict(set)
    steps = [
        row
        for row in build.rows("features/user_pattern")
        if row["event_timestamp"] > START + timedelta(days=10)
    ]
    for row in steps:
        if row["event_timestamp"] <= START + timedelta(days=DAYS - 1):
            kinds[row["pattern"]].add(row["user_id"].split("_")[0])
    assert all(len(users) == 1 for users in kinds.values()), kinds
    assert {kind for users in kinds.values() for kind in users} == set(KINDS)
    # Thirty days after their last events they are inactive.
    last = {row["user_id"]: row for row in steps}
    assert {row["pattern"] for row in last.values()} == {0}
    assert {row["pattern_label"] for row in last.values()} == {"inactive"}
    assert {row["pattern_distance"] for row in last.values()} == {None}

    # What happens after train_end changes nothing of what was fitted, and a build repeats itself.
    first, published = fitted(build), values(build)
    assert first
    for tail in ("scrambled", "none", "as they were", "as they were"):
        in_force = published_bytes(build.home)
        again = dbt_session(
            tmp_path / "home", dataset(tmp_path / tail, planted(tail)), *SELECT, project=project
        )
        assert again.returncode == 0, again.output
        assert fitted(again) == first, tail
    assert values(build) == published
    assert published_bytes(build.home) == in_force


def test_every_row_has_the_nearest_pattern(
    dbt_session: DbtSession, project: Path, tmp_path: Path
) -> None:
    rows, config = random_log(38, events=200)
    _, variables = write_log(rows, tmp_path, config)
    build = dbt_session(tmp_path / "home", variables, *SELECT, project=project)
    assert build.returncode == 0, build.output
    events = account(rows, config, int(datetime.now().timestamp() * 1e6))[0]
    oracle = Oracle(events, config)
    patterns = [
        dict(
            zip(
                ("pattern", "label", "rows", "features", "means", "scales", "center", "fitted_on"),
                row,
                strict=True,
            )
        )
        for row in fitted(build)
    ]
    published = build.rows("features/user_pattern")
    activity = build.rows("features/user_activity_30d")
    assert len(patterns) > 1
    assert [(r["user_id"], r["event_timestamp"]) for r in published] == [
        (r["user_id"], r["event_timestamp"]) for r in activity
    ]
    seen = set()
    for row in published:
        window = oracle.activity(row["user_id"], micros(row["event_timestamp"]), "30d")
        assert window is not None
        expected = nearest(window, config, patterns)
        seen.add(row["pattern"])
        assert (row["pattern"], row["pattern_label"]) == expected[:2]
        if expected[2] is None:
            assert row["pattern_distance"] is None
        else:
            assert row["pattern_distance"] == pytest.approx(expected[2], rel=1e-9)
    assert seen == {0, *(pattern["pattern"] for pattern in patterns)}


def nearest(window: dict[str, Any], config: Any, patterns: list[dict]) -> tuple:
    """Pattern, label and distance of a window, by the words of the contract."""
    count = window["event_count_30d"]
    if count == 0:
        return 0, "inactive", None
    values: dict[str, float | None] = {
        name: math.log(1 + window[f"{name}_30d"])
        for name in ("event_count", "active_days", "distinct_items", "distinct_categories")
    }
    for action in config.actions:
        values[f"{action}_share"] = window[f"{action}_count_30d"] / count
    for name in ("gap_ms", "duration_ms", *config.measures):
        mean = window[f"{name}_mean_30d"]
        values[f"{name}_mean"] = (
            None if mean is None else math.copysign(math.log(1 + abs(mean)), mean)
        )
    best: tuple = ()
    for pattern in patterns:
        assert pattern["features"] == list(values)
        point = [
            0.0 if value is None else (value - mean) * scale
            for value, mean, scale in zip(
                values.values(), pattern["means"], pattern["scales"], strict=True
            )
        ]
        distance = math.dist(point, pattern["center"])
        if not best or distance < best[2]:
            best = (pattern["pattern"], pattern["label"], distance)
    return best


def test_without_a_training_row_there_is_no_pattern(
    dbt_session: DbtSession, project: Path, tmp_path: Path
) -> None:
    rows = [("u", "look", START, "i"), ("v", "buy", START + timedelta(days=1), "i")]
    early = {"train_end": "2023-12-31", "valid_end": "2024-01-01"}
    build = dbt_session(
        tmp_path / "home", dataset(tmp_path / "log", rows, split=early), *SELECT, project=project
    )
    assert build.returncode == 0, build.output
    assert fitted(build) == []
    found = [
        (r["user_id"], r["pattern"], r["pattern_label"])
        for r in build.rows("features/user_pattern")
    ]
    assert found == [
        ("u", None, None),
        ("u", 0, "inactive"),
        ("v", None, None),
        ("v", 0, "inactive"),
    ]


# The end of the training part ---------------------------------------------------------------------


TrainEnd = Callable[..., np.datetime64]


@pytest.fixture
def train_end(dbt_session: DbtSession, staging_project: Path, tmp_path: Path) -> TrainEnd:
    """What the macro `train_end` comes to on a log, after a build of it."""

    def show(times: list[datetime], split: dict[str, Any]) -> np.datetime64:
        rows = [("u", "look", at, str(at)) for at in times]
        variables, home = dataset(tmp_path / "log", rows, split=split), tmp_path / "home"
        build = dbt_session(home, variables, project=staging_project)
        assert build.returncode == 0, build.output
        arguments = ("--inline", "select {{ train_end() }} as train_end", "--output", "json")
        build = dbt_session(home, variables, *arguments, command="show", project=staging_project)
        shown = json.loads(build.output[build.output.index("{") :])["show"][0]["train_end"]
        return np.datetime64(shown, "us")

    return show


@pytest.mark.parametrize("events", [1, 10, 143])
def test_the_quantile_is_the_trainer_s(events: int, train_end: TrainEnd) -> None:
    rng = random.Random(events)
    times = [START + timedelta(microseconds=rng.randrange(10**12)) for _ in range(events)]
    cut = quantile_cut(np.array(sorted(times), dtype="datetime64[us]"), TRAIN_SHARE)
    assert train_end(times, {}) == cut


@pytest.mark.parametrize("declared", ["2024-01-15", "2024-01-15T18:30:00+05:30"])
def test_a_declared_cut_is_read_as_the_trainer_reads_it(declared: str, train_end: TrainEnd) -> None:
    found = train_end([START], {"train_end": declared})
    assert found == parse_instant(declared, "split.train_end")
