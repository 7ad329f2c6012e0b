"""Home of a run, dbt's manifest, and the Feast objects generated from it."""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_repo import feast_objects
from feature_repo import home as home_module
from feature_repo.errors import BadInput
from feature_repo.home import home, repository_root, view_path
from feature_repo.manifest import dataset_vars, fingerprint, load_labels, load_views


def _view(**columns: pa.Array) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array(["a"]),
            "event_timestamp": pa.array([0], pa.timestamp("us")),
            **columns,
        }
    )


ACTIVITY = _view(purchase_count_7d=pa.array([3]), gap_ms_mean_7d=pa.array([1.5]))
SESSION = _view(
    session_is_open=pa.array([True]), session_started_at=pa.array([0], pa.timestamp("us"))
)
SEQUENCE = _view(
    sequence_items=pa.array([["x"]]), sequence_gaps_ms=pa.array([[1]]), weights=pa.array([[0.5]])
)
METAS = {
    "user_activity_7d": {"family": "user_activity", "scale": "7d"},
    "user_session": {"family": "user_session"},
    "label_next": {"publish": "labels"},
}


@pytest.fixture
def built(publish, tmp_path: Path) -> Path:
    views = {
        "user_activity_7d": ACTIVITY,
        "user_session": SESSION,
        "user_sequence": SEQUENCE,
        "label_next": _view(next_action=pa.array(["buy"])),
    }
    return publish(tmp_path / "a home", views, METAS)


def test_home_is_the_variable_else_a_folder_of_the_repository(monkeypatch, tmp_path):
    assert home() == repository_root() / "data" / "build" / "shop"
    assert home("moodle") == repository_root() / "data" / "build" / "moodle"
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "a b"))
    assert home("moodle") == tmp_path / "a b"
    assert view_path(home(), "v") == tmp_path / "a b" / "features" / "v.parquet"


def test_a_relative_home_starts_where_the_command_started(monkeypatch, tmp_path):
    monkeypatch.setattr(home_module, "_STARTED_IN", str(tmp_path))
    monkeypatch.setenv("SCALESPACE_HOME", "../x")
    monkeypatch.chdir("/")
    assert home() == tmp_path.parent / "x"


def test_views_and_labels_are_what_the_manifest_publishes(built):
    views = load_views(built)
    assert [view.name for view in views] == ["user_activity_7d", "user_sequence", "user_session"]
    activity = views[0]
    assert (activity.entity, activity.join_key) == ("user", "user_id")
    assert (activity.family, activity.scale) == ("user_activity", "7d")
    assert [c.name for c in activity.features] == ["purchase_count_7d", "gap_ms_mean_7d"]
    assert [c.data_type for c in activity.columns] == ["VARCHAR", "TIMESTAMP", "BIGINT", "DOUBLE"]
    assert [view.name for view in load_labels(built)] == ["label_next"]
    assert dataset_vars(built)["actions"] == ["view", "buy"]


def test_without_a_build_the_message_says_what_to_run(tmp_path):
    for read in (load_views, load_labels, dataset_vars, fingerprint):
        with pytest.raises(BadInput, match="no dbt build found at .*: run `dbt build`"):
            read(tmp_path)


def _edit(home_path: Path, change) -> None:
    path = home_path / "target" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_the_fingerprint_is_of_the_meaning_only(built):
    before = fingerprint(built)
    _edit(built, lambda m: m["metadata"].update(invocation_id="other", generated_at="now"))
    _edit(built, lambda m: m["nodes"]["model.scalespace.user_session"].update(created_at=1.0))
    assert fingerprint(built) == before

    def node(manifest, name="user_session"):
        return manifest["nodes"][f"model.scalespace.{name}"]

    changes = [
        lambda m: node(m).update(raw_code="select 2"),
        lambda m: node(m)["columns"]["session_is_open"].update(data_type="bigint"),
        lambda m: node(m)["columns"].pop("session_is_open"),
        lambda m: node(m)["config"]["meta"].update(scale="9d"),
        lambda m: node(m, "stg_events")["config"]["meta"]["dataset_vars"].update(dataset="other"),
        lambda m: m["macros"].update({"m": {"package_name": "scalespace", "macro_sql": "x"}}),
    ]
    seen = {before}
    for change in changes:
        _edit(built, change)
        seen.add(fingerprint(built))
    assert len(seen) == len(changes) + 1


def _by_name(objects) -> dict:
    return {(type(o).__name__, o.name): o for o in objects}


def test_objects_have_the_types_tags_and_services_of_the_manifest(built):
    from feast import types

    objects = _by_name(feast_objects.build(built))
    activity = objects["FeatureView", "user_activity_7d"]
    assert {f.name: f.dtype for f in activity.features} == {
        "purchase_count_7d": types.Int64,
        "gap_ms_mean_7d": types.Float64,
    }
    assert activity.tags == {"family": "user_activity", "scale": "7d"}
    assert activity.description == "One row per user and instant: user_activity_7d."
    assert activity.ttl == timedelta(0)
    assert activity.batch_source.path == str(built / "features" / "user_activity_7d.parquet")
    assert [f.dtype for f in objects["FeatureView", "user_session"].features] == [
        types.Bool,
        types.UnixTimestamp,
    ]
    assert [f.dtype for f in objects["FeatureView", "user_sequence"].features] == [
        types.Array(types.String),
        types.Array(types.Int64),
        types.Array(types.Float64),
    ]
    services = {
        name: [projection.name for projection in o.feature_view_projections]
        for (kind, name), o in objects.items()
        if kind == "FeatureService"
    }
    assert services == {
        "user_features": ["user_activity_7d", "user_sequence", "user_session"],
        "family_user_activity": ["user_activity_7d"],
        "family_user_session": ["user_session"],
        "user_scale_7d": ["user_activity_7d"],
        "user_elapsed": ["user_session_elapsed"],
    }


@pytest.mark.parametrize("data_type", ["DECIMAL(18,2)", "DATE", "HUGEINT", "BOOLEAN[]", "INTEGER"])
def test_a_type_that_feast_cannot_carry_is_refused_by_name(publish, tmp_path, data_type):
    metas = {"spend": {"types": {"amount": data_type}}}
    built = publish(tmp_path, {"spend": _view(amount=pa.array([1]))}, metas)
    with pytest.raises(BadInput, match=r"view spend, column amount: type .* cast it to one of"):
        feast_objects.build(built)


def test_a_feature_in_two_views_is_refused_and_both_are_named(publish, tmp_path):
    built = publish(tmp_path, {"one": _view(x=pa.array([1])), "two": _view(x=pa.array([1]))})
    with pytest.raises(BadInput, match="feature x is in view one and in view two"):
        feast_objects.build(built)


def test_a_view_without_its_key_or_types_is_refused(publish, tmp_path):
    built = publish(tmp_path, {"v": _view(x=pa.array([1]))})
    _edit(built, lambda m: m["nodes"]["model.scalespace.v"]["columns"]["x"].pop("data_type"))
    with pytest.raises(BadInput, match="model v: column x has no data_type"):
        load_views(built)
    _edit(built, lambda m: m["nodes"]["model.scalespace.v"]["columns"].pop("user_id"))
    _edit(built, lambda m: m["nodes"]["model.scalespace.v"]["columns"].pop("x"))
    with pytest.raises(BadInput, match="model v: no column user_id"):
        load_views(built)


def test_columns_that_a_model_declares_itself_outlast_a_partial_manifest(built: Path):
    """`dbt ls` and selections write only YAML's columns; the model's own stay in its meta."""
    path = built / "target" / "manifest.json"
    whole = load_views(built)
    manifest = json.loads(path.read_text())
    node = manifest["nodes"]["model.scalespace.user_activity_7d"]
    node["config"]["meta"]["columns"] = list(node["columns"].values())
    del node["columns"]["purchase_count_7d"]
    path.write_text(json.dumps(manifest))
    assert load_views(built) == whole
